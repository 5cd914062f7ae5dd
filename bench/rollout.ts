/**
 * From `natto apply` to the last node: how long it takes until all nodes report that they run a change, over a real server. The agents are real but
 * for their dataplane, which takes no time. A change of who owns what goes to all nodes at once, a change of policy in waves, whose
 * waiting (spec.rollout.bakeSeconds) is left out here. Run with `node bench/rollout.ts [ROUNDS]`.
 */
import { pino } from "pino";
import { startAgentLoops } from "../src/agent/agent-loops.ts";
import { recordingDataplane } from "../src/agent/fixtures.ts";
import { applyObject } from "../src/cli/apply.ts";
import { tableLines } from "../src/cli/table.ts";
import { startController } from "../src/controller/controller.ts";
import { openStoreMembership } from "../src/membership/store-membership.ts";
import { API_VERSION } from "../src/model/meta.ts";
import { validateObject } from "../src/model/validate.ts";
import { startServer } from "../src/server/server.ts";
import { until } from "../src/store/fixtures.ts";
import { openHttpStore } from "../src/store/http-store.ts";
import { openMemoryStore } from "../src/store/memory-store.ts";
import type { Store } from "../src/store/store.ts";
import { formatSummary, summarize } from "./statistics.ts";

const NODES = 10;
const PATIENCE_MS = 120_000;
const logger = pino({ level: "silent" });

async function startNode(store: Store, number: number): Promise<{ stop(): Promise<void> }> {
  const identity = {
    ...{ node: `node-${number}`, cell: "main", labels: {} },
    address: `192.0.2.${number + 1}`,
    interfaces: { inside: "in0", outside: "out0" },
  };
  return startAgentLoops({
    ...{ identity, store, logger, version: "bench", fresh: true },
    dataplane: recordingDataplane(),
    snapshots: { read: async () => ({ found: "nothing" }), write: async () => {} },
    startProber: () => ({ follow: () => {}, alive: () => [], isolated: () => false, close: async () => {} }),
  });
}

async function apply(store: Store, kind: string, name: string, spec: unknown): Promise<void> {
  const namespace = kind === "NatGateway" ? { namespace: "team" } : {};
  const input = { apiVersion: API_VERSION, kind, metadata: { name, ...namespace }, spec };
  await applyObject(store, validateObject(input), input);
}

function gatewaySpec(count: number, udp: number) {
  return {
    cell: "main",
    sources: ["10.0.0.0/24"],
    addresses: { pool: "public", count },
    timeouts: { udp },
  };
}

/** Milliseconds until every node reports that it runs its configuration, and that is as it should be. */
async function untilLast(store: Store, isNew: (addresses: number, udp: number) => boolean): Promise<number> {
  const began = performance.now();
  await until(
    async () => {
      const configs = (await store.list({ kind: "NodeConfig" })).items;
      const nodes = (await store.list({ kind: "GatewayNode" })).items;
      const generations = new Map(
        nodes.map(({ metadata, status }) => [metadata.name, status?.applied?.generation]),
      );
      return (
        configs.length === NODES &&
        configs.every(({ metadata, spec: { gateways } }) => {
          const [gateway] = gateways;
          if (!gateway || generations.get(metadata.name) !== metadata.generation) return false;
          return isNew(gateway.addresses.length, gateway.behaviour.timeouts.udp);
        })
      );
    },
    "all nodes have applied it",
    PATIENCE_MS,
  );
  return performance.now() - began;
}

async function measure(rounds: number): Promise<void> {
  await using running = new AsyncDisposableStack();
  const store = openMemoryStore();
  running.defer(() => store.close());
  const server = await startServer({ store, host: "127.0.0.1", port: 0, logger });
  running.defer(() => server.close());
  const membership = openStoreMembership(store);
  running.defer(() => membership.close());
  const controller = startController({ store, membership, logger });
  running.defer(() => controller.close());
  await apply(store, "Cell", "main", { rollout: { bakeSeconds: 0 } });
  await apply(store, "AddressPool", "public", { cidrs: ["203.0.113.0/28"] });
  for (let number = 0; number < NODES; number++) {
    const remote = openHttpStore(server.url);
    running.defer(() => remote.close());
    const node = await startNode(remote, number);
    running.defer(() => node.stop());
  }
  await apply(store, "NatGateway", "web", gatewaySpec(1, 300));
  await untilLast(store, (addresses) => addresses === 1);
  const ownership: number[] = [];
  const policy: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const [count, udp] = [2 - (round % 2), 100 + round];
    await apply(store, "NatGateway", "web", gatewaySpec(count, udp - 1));
    ownership.push(await untilLast(store, (addresses) => addresses === count));
    await untilLast(store, (_, timeout) => timeout === udp - 1);
    await apply(store, "NatGateway", "web", gatewaySpec(count, udp + 1000));
    policy.push(await untilLast(store, (_, timeout) => timeout === udp + 1000));
  }
  const rows = [
    [`from apply to the last of ${NODES} nodes`, "ms: median (min–max)"],
    ["who owns what: to all at once", formatSummary(summarize(ownership))],
    ["policy: in three waves, without their waiting", formatSummary(summarize(policy))],
  ];
  console.log(tableLines(rows).join("\n"));
}

await measure(Number(process.argv[2] ?? 20));
