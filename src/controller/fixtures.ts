/** What tests of the controller share: a cloud that is declared, the heartbeats of its nodes, what is stored, and a way to wait for rest. */
import { setTimeout as delay } from "node:timers/promises";
import type { MemberState } from "../membership/membership.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import { leaseSchema } from "../model/lease.ts";
import { API_VERSION } from "../model/meta.ts";
import { cell, gateway, node, pool, slotTable, tally } from "../planner/fixtures.ts";
import { until } from "../store/fixtures.ts";
import type { Store } from "../store/store.ts";
import type { Controller } from "./controller.ts";
import type { Stored } from "./writes.ts";

/** Declares an object, and reports its status if it has one. */
export async function declare<K extends Kind>(store: Store, object: ObjectOf<K>): Promise<void> {
  const created = await store.create<K>(object);
  if (object.status) await store.updateStatus<K>({ ...created, status: object.status });
}

/** One cell, one pool, three nodes that are ready, two gateways. */
export async function declareCloud(store: Store, nodes = ["n1", "n2", "n3"]): Promise<void> {
  await declare(store, cell("c1"));
  await declare(store, pool("p1", ["203.0.113.0/30"]));
  for (const name of nodes) await declare(store, node(name));
  for (const name of ["g1", "g2"]) await declare(store, gateway(name));
}

export function alive(...names: string[]): Map<string, MemberState> {
  return new Map(names.map((name) => [name, "alive"]));
}

export const ALL = alive("n1", "n2", "n3");

/** Everything that the controller reads and writes, as it is stored. */
export async function readAll(store: Store): Promise<Stored> {
  const list = async <K extends Kind>(kind: K) => (await store.list({ kind })).items;
  return {
    cells: await list("Cell"),
    nodes: await list("GatewayNode"),
    pools: await list("AddressPool"),
    gateways: await list("NatGateway"),
    floats: await list("FloatingAddress"),
    forwards: await list("PortForward"),
    placements: await list("Placement"),
    nodeConfigs: await list("NodeConfig"),
    rollouts: await list("Rollout"),
    leases: await list("Lease"),
  };
}

/** Waits until the controller has done several rounds without writing anything, and nothing in the store has changed meanwhile. */
export async function untilQuiet(controller: Controller): Promise<void> {
  let before = controller.figures();
  let since = performance.now();
  await until(() => {
    const now = controller.figures();
    if (now.rounds !== before.rounds) {
      before = now;
      since = performance.now();
    }
    return now.rounds > 0 && performance.now() - since > 150;
  }, "the controller comes to rest");
}
/** For a gateway: how many slots each node owns. */
export async function owners(store: Store, name = "g1"): Promise<Map<string, number>> {
  const placement = await store.get({ kind: "Placement", namespace: "t", name });
  return tally(slotTable(placement?.spec, "owners"));
}

export function lease(name: string, renewals: number): ObjectOf<"Lease"> {
  const spec = { cell: "c1", renewals, renewedAt: "" };
  return leaseSchema.parse({ apiVersion: API_VERSION, kind: "Lease", metadata: { name }, spec });
}

/** Renews the leases of the nodes in the set, until stopped. */
export function startHearts(store: Store, beating: ReadonlySet<string>): { stop(): Promise<void> } {
  let renewals = 0;
  const ending = new AbortController();
  const renew = async (name: string): Promise<void> => {
    const draft = lease(name, renewals);
    const stored = await store.get({ kind: "Lease", name });
    await (stored ? store.update<"Lease">(draft) : store.create<"Lease">(draft));
  };
  const beat = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      renewals++;
      // As an agent does: what could not be written is tried again with the next beat.
      await Promise.allSettled([...beating].map(renew));
      await delay(100, undefined, { signal: ending.signal }).catch(() => {});
    }
  };
  const running = beat();
  return {
    stop: async () => {
      ending.abort();
      await running;
    },
  };
}
