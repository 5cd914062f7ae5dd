/** The control plane goes away, in parts and as a whole, and comes back: no packet is lost, and nothing is forgotten. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configsApplied, gatewayReady, listObjects, natto } from "../../src/demo/cloud.ts";
import type { Lab } from "../../src/lab/lab.ts";
import {
  assertNothingLost,
  describedCondition,
  gatewayYaml,
  hostsOf,
  killHard,
  leavesNothing,
  loseStore,
  nodeCondition,
  nothingFor,
  PATIENCE_MS,
  pinnedEntries,
  placementOf,
  regainStore,
  restart,
  serverAnswers,
  slotOwners,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

/** Longer than the cell's `ttlSeconds` of 3, and than the peers need to judge each other. */
const LONGER_THAN_TTL = 5;
/** What a node does is programmed by these alone; the other maps hold sessions and counts. */
const PROGRAMMED_MAPS = ["nodes", "sources", "gateways", "addresses", "slots"];

const cloud = useCloud("control", { endpoints: 6 });

function programmedMaps(lab: Lab, node: string): readonly ReadonlyMap<string, string>[] {
  return PROGRAMMED_MAPS.map((map) => pinnedEntries(lab, node, map));
}

async function renewals(lab: Lab): Promise<ReadonlyMap<string, number>> {
  return new Map((await listObjects(lab, "Lease")).map((l) => [l.metadata.name, l.spec.renewals]));
}

/** Waits until each of these nodes has renewed its Lease since. */
async function renewed(
  lab: Lab,
  nodes: readonly string[],
  since: ReadonlyMap<string, number>,
): Promise<void> {
  await until(`${nodes.join(", ")} renew their leases`, async () => {
    const now = await renewals(lab);
    return nodes.every((node) => (now.get(node) ?? 0) > (since.get(node) ?? 0));
  });
}

test("Server and controller are killed: established flows and new ones go on without loss, and so when they are back.", async () => {
  const lab = cloud();
  const before = slotOwners(await placementOf(lab, "web"));
  const leases = await renewals(lab);
  const report = await whileProbing(lab, {}, async () => {
    await killHard(lab, "control", "server");
    assert.equal((await lab.exec("control", ["natto", "get", "nodes"])).code, 7);
    await nothingFor(LONGER_THAN_TTL);
    await restart(lab, "control", "server");
    await serverAnswers(lab);
    await renewed(lab, hostsOf(lab, "node"), leases);
    await nothingFor(2);
  });
  assertNothingLost(report);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
});

test("One agent is killed for longer than it may be silent: its slots stay where they are, since its peers see it forward.", async () => {
  const lab = cloud();
  const before = slotOwners(await placementOf(lab, "web"));
  const leases = await renewals(lab);
  const report = await whileProbing(lab, {}, async () => {
    await killHard(lab, "node1", "agent");
    await nothingFor(LONGER_THAN_TTL);
    await until("the peers say that they see node1", async () => {
      const others = (await listObjects(lab, "Lease")).filter((lease) => lease.metadata.name !== "node1");
      return others.length === 2 && others.every((lease) => lease.spec.peersAlive.includes("node1"));
    });
    assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
    await restart(lab, "node1", "agent");
    await renewed(lab, ["node1"], leases);
  });
  assertNothingLost(report);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
});

test("All agents are killed: flows go on without loss, and the controller doubts the loss of everybody.", async () => {
  const lab = cloud();
  const nodes = hostsOf(lab, "node");
  const before = slotOwners(await placementOf(lab, "web"));
  const leases = await renewals(lab);
  const report = await whileProbing(lab, {}, async () => {
    for (const node of nodes) await killHard(lab, node, "agent");
    await nothingFor(LONGER_THAN_TTL);
    await until("the cell says that it doubts", async () => {
      const [cell] = await listObjects(lab, "Cell");
      return (
        cell?.status?.conditions.some((c) => c.type === "MembershipDoubted" && c.status === "True") ?? false
      );
    });
    assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
    for (const node of nodes) await restart(lab, node, "agent");
    await renewed(lab, nodes, leases);
    await until("nobody doubts any more", async () => {
      const [cell] = await listObjects(lab, "Cell");
      return (
        cell?.status?.conditions.some((c) => c.type === "MembershipDoubted" && c.status === "False") ?? false
      );
    });
  });
  assertNothingLost(report);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
});

test("An agent that is restarted while the store is away comes up from its snapshot and changes nothing.", async () => {
  const lab = cloud();
  const before = slotOwners(await placementOf(lab, "web"));
  const maps = programmedMaps(lab, "node1");
  const report = await whileProbing(lab, {}, async () => {
    await loseStore(lab);
    await killHard(lab, "node1", "agent");
    const agent = await restart(lab, "node1", "agent");
    await until("the agent says that it starts from its snapshot", async () =>
      /starts from its snapshot: NodeConfig generation \d+/.test(await agent.stderr()),
    );
    await nothingFor(LONGER_THAN_TTL);
    assert(agent.alive());
    assert.deepEqual(programmedMaps(lab, "node1"), maps);

    await regainStore(lab);
    await until("node1 tells of the outage", async () =>
      /True +\S+ +ReachableAgain/.test(await describedCondition(lab, "node1", "StoreReachable")),
    );
    await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
  });
  assertNothingLost(report);
  assert.deepEqual(programmedMaps(lab, "node1"), maps);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
});

test("What was declared is still there after the server was killed, and what is declared now is obeyed by all nodes.", async () => {
  const lab = cloud();
  assert.equal(
    await natto(lab, ["apply", "-f", "-"], gatewayYaml("web", "10.0.0.0/24")),
    "natgateway.natto.dev/team-a/web unchanged\n",
  );
  await natto(lab, ["apply", "-f", "-"], gatewayYaml("more", "10.0.9.0/24"));
  await killHard(lab, "control", "server");
  await restart(lab, "control", "server");
  await serverAnswers(lab);
  await gatewayReady(lab, "more", PATIENCE_MS);
  await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
  for (const node of hostsOf(lab, "node")) {
    assert.equal((await nodeCondition(lab, node, "ConfigApplied"))?.status, "True", node);
  }
});

leavesNothing(cloud);
