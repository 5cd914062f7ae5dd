/** The store is lost under a running cloud, and comes back empty or older: the nodes keep what they have until it is restored, or somebody accepts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configsApplied, gatewayReady, listObjects, natto } from "../../src/demo/cloud.ts";
import type { Lab } from "../../src/lab/lab.ts";
import {
  assertNothingLost,
  emptyStore,
  gatewayYaml,
  hostsOf,
  leavesNothing,
  nodeCondition,
  placementOf,
  slotOwners,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

const cloud = useCloud("restore", {
  endpoints: 4,
  gateways: [
    { name: "web", yaml: gatewayYaml("web", "10.0.0.0/24") },
    { name: "spare", yaml: gatewayYaml("spare", "10.1.0.0/24") },
  ],
});

async function allNodes(lab: Lab, what: string, doubted: "True" | "False", reason?: string): Promise<void> {
  await until(what, async () => {
    const conditions = await Promise.all(
      hostsOf(lab, "node").map((node) => nodeCondition(lab, node, "ConfigDoubted")),
    );
    return conditions.every((c) => c?.status === doubted && (reason === undefined || c.reason === reason));
  });
}

async function gatewaysOf(lab: Lab, node: string): Promise<readonly string[]> {
  const config = (await listObjects(lab, "NodeConfig")).find(({ metadata }) => metadata.name === node);
  return (config?.spec.gateways ?? []).map(({ name }) => name).toSorted();
}

test("The store is lost and restored from a backup: no flow is lost, no slot moves, and objects are who they were.", async () => {
  const lab = cloud();
  const before = slotOwners(await placementOf(lab, "web"));
  const [gateway] = await listObjects(lab, "NatGateway");
  const backup = await natto(lab, ["export"]);
  assert.equal(await natto(lab, ["export"]), backup, "an export is the same each time");
  const report = await whileProbing(lab, {}, async () => {
    await emptyStore(lab);
    await allNodes(lab, "the nodes doubt an empty store", "True");
    assert.equal((await lab.exec("control", ["natto", "get", "gw", "-n", "team-a", "web"])).code, 4);
    await natto(lab, ["import", "-f", "-"], backup);
    await allNodes(lab, "the doubt ends", "False");
    await gatewayReady(lab, "web");
  });
  assertNothingLost(report);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), before);
  const [restored] = await listObjects(lab, "NatGateway");
  assert.equal(restored?.metadata.uid, gateway?.metadata.uid);
  const again = await natto(lab, ["import", "-f", "-"], backup);
  assert.doesNotMatch(again, /restored|overwritten/);
});

test("The store comes back older than what the nodes run: they doubt it and keep all, until an operator accepts it.", async () => {
  const lab = cloud();
  const nodes = hostsOf(lab, "node");
  const backup = await natto(lab, ["export"]);
  await natto(lab, ["apply", "-f", "-"], gatewayYaml("late", "10.2.0.0/24"));
  await gatewayReady(lab, "late");
  await until("all nodes have it", async () => {
    const configs = await Promise.all(nodes.map((node) => gatewaysOf(lab, node)));
    return configs.every((names) => names.includes("late"));
  });
  await configsApplied(lab, nodes);
  const report = await whileProbing(lab, {}, async () => {
    await emptyStore(lab);
    await allNodes(lab, "the nodes doubt an empty store", "True");
    await natto(lab, ["import", "-f", "-"], backup);
    for (const node of nodes) assert.deepEqual(await gatewaysOf(lab, node), ["spare", "web"]);
    await allNodes(lab, "the nodes doubt what lacks a gateway", "True", "RolledBack");
    await until("one says that the late gateway is missing", async () => {
      const conditions = await Promise.all(nodes.map((node) => nodeCondition(lab, node, "ConfigDoubted")));
      return conditions.some((c) => /\(team-a\/late\).*natto accept/.test(c?.message ?? ""));
    });
    await natto(lab, ["accept", "--all"]);
    await allNodes(lab, "the nodes obey", "False");
    await configsApplied(lab, nodes);
    for (const node of nodes) assert.deepEqual(await gatewaysOf(lab, node), ["spare", "web"]);
  });
  assertNothingLost(report);
});

leavesNothing(cloud);
