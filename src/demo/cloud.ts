/** A cloud with Natto in it, as the demo and the end-to-end tests use one: brought up, asked and told things by the CLI in its control host. */
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { NattoError } from "../errors.ts";
import { NAT_CLOUD } from "../lab/clouds.ts";
import type { Lab } from "../lab/lab.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { NODE_READY } from "../model/gateway-node.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import type { Condition } from "../model/meta.ts";
import { GATEWAY_READY, type NatGateway } from "../model/nat-gateway.ts";
import { ROLLED_OUT } from "../rollout/progress.ts";
import type { CommandResult } from "../run-command.ts";

const POLL_MS = 100;

/** Polls until `look` returns something; throws `Unavailable` with `what` after the deadline. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline)
      throw new NattoError("Unavailable", `${what}: not within ${timeoutMs / 1000} s`);
    await delay(POLL_MS);
  }
}

/** Runs the CLI in the control host, whatever it exits with. */
export async function runNatto(lab: Lab, args: readonly string[], input?: string): Promise<CommandResult> {
  return lab.exec("control", ["natto", ...args], input === undefined ? {} : { input });
}

/** The same, and throws with what the CLI said if it failed. Returns its output. */
export async function natto(lab: Lab, args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await runNatto(lab, args, input);
  if (code !== 0)
    throw new NattoError("Internal", `natto ${args.join(" ")} exited with ${code}: ${stderr.trim()}`);
  return stdout;
}

/** All objects of a kind, of all namespaces. */
export async function listObjects<K extends Kind>(lab: Lab, kind: K): Promise<readonly ObjectOf<K>[]> {
  const list = JSON.parse(await natto(lab, ["get", kind, "-A", "-o", "json"])) as {
    readonly items: readonly ObjectOf<K>[];
  };
  return list.items;
}

function holds(conditions: readonly Condition[] | undefined, type: string): boolean {
  return conditions?.some((c) => c.type === type && c.status === "True") ?? false;
}

/** Waits until so many nodes are ready to take slots. */
export async function nodesReady(
  lab: Lab,
  count: number,
  timeoutMs = 30_000,
): Promise<readonly GatewayNode[]> {
  return eventually(`${count} nodes ready`, timeoutMs, async () => {
    const nodes = await listObjects(lab, "GatewayNode");
    return nodes.filter((node) => holds(node.status?.conditions, NODE_READY)).length >= count
      ? nodes
      : undefined;
  });
}

/** Waits until a gateway is ready by its spec of now, its rollout has reached all nodes, and they have applied their configuration. */
export async function gatewayReady(lab: Lab, name: string, timeoutMs = 30_000): Promise<NatGateway> {
  const gateway = await eventually(`gateway ${name} ready`, timeoutMs, async () => {
    const found = (await listObjects(lab, "NatGateway")).find((g) => g.metadata.name === name);
    const current = found?.status?.observedGeneration === found?.metadata.generation;
    const conditions = found?.status?.conditions;
    return current && holds(conditions, GATEWAY_READY) && holds(conditions, ROLLED_OUT) ? found : undefined;
  });
  await configsApplied(lab, Object.keys(gateway.status?.owners ?? {}), timeoutMs);
  return gateway;
}

/** Waits until these nodes report the generation of their NodeConfig as applied. */
export async function configsApplied(lab: Lab, names: readonly string[], timeoutMs = 30_000): Promise<void> {
  await eventually(`configuration applied on ${names.join(", ")}`, timeoutMs, async () => {
    const configs = await listObjects(lab, "NodeConfig");
    const nodes = await listObjects(lab, "GatewayNode");
    const applied = names.every((name) => {
      const wanted = configs.find((c) => c.metadata.name === name)?.metadata.generation;
      return (
        wanted !== undefined &&
        nodes.find((n) => n.metadata.name === name)?.status?.applied?.generation === wanted
      );
    });
    return applied ? true : undefined;
  });
}

const nextHopsSchema = z.array(z.object({ nexthops: z.array(z.unknown()).optional() }));

/**
 * Waits until the routers spread what is meant for the outside, and for these public addresses, over all nodes: with BGP, until the nodes have
 * announced themselves.
 */
export async function spreadOverNodes(
  lab: Lab,
  addresses: readonly string[],
  timeoutMs = 30_000,
): Promise<void> {
  const nodes = lab.topology.hosts.filter((host) => host.role === "node").length;
  const isSpread = async (router: string, to: string): Promise<boolean> => {
    const { code, stdout } = await lab.exec(router, ["ip", "-j", "route", "show", "match", to]);
    const routes = code === 0 && stdout.trim() !== "" ? nextHopsSchema.parse(JSON.parse(stdout)) : [];
    return routes.some(({ nexthops }) => (nexthops?.length ?? 1) === nodes);
  };
  await eventually(`the fabric spreads ${addresses.join(", ")} over ${nodes} nodes`, timeoutMs, async () => {
    const outside = await Promise.all(addresses.map((address) => isSpread("fabric-out", address)));
    return [...outside, await isSpread("fabric-in", NAT_CLOUD.outsideSubnet)].every(Boolean) || undefined;
  });
}
