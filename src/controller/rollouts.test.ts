/** Rollouts by the controller: nodes that report, a controller that dies in the middle, nodes that are lost meanwhile. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { openStaticMembership, type StaticMembership } from "../membership/static-membership.ts";
import type { RolloutSettings } from "../model/cell.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Condition } from "../model/meta.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { condition, slotTable } from "../planner/fixtures.ts";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { type Controller, startController } from "./controller.ts";
import { ALL, alive, declareCloud, untilQuiet } from "./fixtures.ts";

const logger = pino({ level: "silent" });
const NODES = ["n1", "n2", "n3"];

interface Trial {
  readonly store: Store;
  readonly members: StaticMembership;
  start(): Controller;
  /** Nodes that report what they were given as applied; the others say nothing. */
  readonly reporting: Set<string>;
}

/** A cloud at rest. A node doubts every configuration in which g1 has a UDP timeout of 13 seconds. */
async function openTrial(t: TestContext, settings: Partial<RolloutSettings>): Promise<Trial> {
  const store = openMemoryStore();
  await declareCloud(store, NODES);
  const cell = (await store.get({ kind: "Cell", name: "c1" }))!;
  const rollout = { ...cell.spec.rollout, bakeSeconds: 0, percents: [], ...settings };
  await store.update<"Cell">({ ...cell, spec: { ...cell.spec, rollout } });
  const members = openStaticMembership(ALL);
  const reporting = new Set(NODES);
  const configs = openMirror(store, { kind: "NodeConfig" });
  configs.onChange((change) => {
    if (change.type === "ADDED" || change.type === "MODIFIED") {
      if (reporting.has(change.object.metadata.name)) void report(store, change.object);
    }
  });
  const start = (): Controller => {
    const controller = startController({ store, membership: members, logger, debounceMs: 1 });
    t.after(() => controller.close());
    return controller;
  };
  t.after(async () => {
    await configs.close();
    await store.close();
  });
  return { store, members, start, reporting };
}

async function report(store: Store, config: NodeConfig): Promise<void> {
  const { name, generation } = config.metadata;
  const node = await store.get({ kind: "GatewayNode", name });
  if (!node) return;
  const bad = config.spec.gateways.some((g) => g.name === "g1" && g.behaviour.timeouts.udp === 13);
  const conditions: Condition[] = [
    condition("Ready", "True"),
    condition("ConfigDoubted", bad ? "True" : "False"),
  ];
  const applied = bad ? node.status?.applied : { generation, digest: "", at: "" };
  const status: GatewayNode["status"] = {
    ...{ observedGeneration: 1, counters: {}, conditions },
    ...(applied ? { applied } : {}),
  };
  await store.updateStatus<"GatewayNode">({
    ...node,
    metadata: { ...node.metadata, resourceVersion: "" },
    status,
  });
}

async function declareTimeout(store: Store, udp: number, name = "g1"): Promise<void> {
  const gateway = (await store.get({ kind: "NatGateway", namespace: "t", name }))!;
  const timeouts = { ...gateway.spec.timeouts, udp };
  await store.update<"NatGateway">({ ...gateway, spec: { ...gateway.spec, timeouts } });
}

/** Node → UDP timeout of g1 in its configuration. */
async function timeouts(store: Store): Promise<readonly (number | undefined)[]> {
  const { items } = await store.list({ kind: "NodeConfig" });
  return items.map(({ spec }) => spec.gateways.find((g) => g.name === "g1")?.behaviour.timeouts.udp);
}

async function rolledOut(store: Store): Promise<string | undefined> {
  const gateway = await store.get({ kind: "NatGateway", namespace: "t", name: "g1" });
  const found = gateway?.status?.conditions.find((c) => c.type === "RolledOut");
  return found && `${found.status} ${found.reason}`;
}

test("a change reaches the canary, and the other nodes only once it has reported", async (t) => {
  const { store, start, reporting } = await openTrial(t, {});
  const controller = start();
  await untilQuiet(controller);
  reporting.delete("n1");
  await declareTimeout(store, 60);
  await until(async () => (await rolledOut(store)) === "False RollingOut", "the gateway says so");
  await untilQuiet(controller);
  assert.deepEqual(await timeouts(store), [60, 300, 300]);
  await report(store, (await store.get({ kind: "NodeConfig", name: "n1" }))!);
  await until(async () => (await timeouts(store)).every((udp) => udp === 60), "all nodes have it");
  await until(async () => (await rolledOut(store)) === "True OnAllNodes", "the gateway says so");
});

test("a bad change is taken back, with the reason in the statuses, and does not hold up the next change", async (t) => {
  const { store, start } = await openTrial(t, {});
  const controller = start();
  await untilQuiet(controller);
  await declareTimeout(store, 13);
  await until(async () => (await rolledOut(store)) === "False Failed", "it is taken back");
  await untilQuiet(controller);
  assert.deepEqual(await timeouts(store), [300, 300, 300]);
  const cell = await store.get({ kind: "Cell", name: "c1" });
  const found = cell?.status?.conditions.find((c) => c.type === "RolledOut");
  assert.match(found?.message ?? "", /rollout 1: wave 1: n1: ConfigDoubted is True/);
  await declareTimeout(store, 60, "g2");
  await until(async () => {
    const { items } = await store.list({ kind: "NodeConfig" });
    return items.every(
      ({ spec }) => spec.gateways.find((g) => g.name === "g2")?.behaviour.timeouts.udp === 60,
    );
  }, "the other gateway's change is everywhere");
  assert.deepEqual(await timeouts(store), [300, 300, 300]);
  await declareTimeout(store, 14);
  await until(async () => (await timeouts(store)).every((udp) => udp === 14), "the correction is everywhere");
});

test("slots of a node that is lost in the middle of a rollout move at once, on all nodes, and the policy stays as it was", async (t) => {
  const { store, members, start, reporting } = await openTrial(t, { reportSeconds: 3600 });
  const controller = start();
  await untilQuiet(controller);
  reporting.clear();
  await declareTimeout(store, 60);
  await until(async () => (await timeouts(store))[0] === 60, "the canary has it");
  members.set(alive("n1", "n2"));
  await until(async () => {
    const { items } = await store.list({ kind: "NodeConfig" });
    return items.every(({ spec }) =>
      spec.gateways.every(
        (g) => ![...slotTable({ ...g, cell: "c1", pool: "p1" }, "owners").values()].includes("n3"),
      ),
    );
  }, "n3 owns nothing in any configuration");
  assert.deepEqual(await timeouts(store), [60, 300, 300]);
});

test("a controller that dies in the middle of a rollout is followed by one that goes on where it was", async (t) => {
  const { store, start, reporting } = await openTrial(t, { reportSeconds: 3600 });
  const first = start();
  await untilQuiet(first);
  reporting.clear();
  await declareTimeout(store, 60);
  await until(async () => (await timeouts(store))[0] === 60, "the canary has it");
  await first.close();
  const second = start();
  await untilQuiet(second);
  assert.deepEqual(await timeouts(store), [60, 300, 300]);
  for (const name of NODES) reporting.add(name);
  await report(store, (await store.get({ kind: "NodeConfig", name: "n1" }))!);
  await until(async () => (await timeouts(store)).every((udp) => udp === 60), "all nodes have it");
  const rollout = await store.get({ kind: "Rollout", name: "c1" });
  assert.equal(rollout?.spec.number, 1);
});

test("what nodes do when there is no record of a rollout is what is good: a change is brought to one of them first", async (t) => {
  const { store, start, reporting } = await openTrial(t, { reportSeconds: 3600 });
  const first = start();
  await untilQuiet(first);
  await first.close();
  await store.delete({ kind: "Rollout", name: "c1" });
  reporting.clear();
  await declareTimeout(store, 60);
  await untilQuiet(start());
  assert.deepEqual(await timeouts(store), [60, 300, 300]);
});
