import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CatalogueInput,
  healthSchema,
  type Instance,
  instancesOf,
  judgeCatalogue,
} from "./consul-catalog.ts";
import type { Observations } from "./judgement.ts";

type Told = readonly [check: string, status: string, output?: string];

/** An entry of node n1 as Consul tells it. */
function entry(checks: readonly Told[], others: readonly Told[] = [["serfHealth", "passing", "alive"]]) {
  const own = checks.map(([check, Status, Output = "words"]) => ({
    CheckID: `natto-n1:${check}`,
    Status,
    Output,
  }));
  const rest = others.map(([CheckID, Status, Output = ""]) => ({ CheckID, Status, Output }));
  return { Service: { ID: "natto-n1", Meta: { node: "n1", cell: "c1" } }, Checks: [...rest, ...own] };
}

function instance(...args: Parameters<typeof entry>): Instance | undefined {
  return instancesOf(healthSchema.parse([entry(...args)]))[0];
}

const SPEAKS: Told = ["agent", "passing"];

test("the worst of a node's own checks is its health, whatever its heartbeat says", () => {
  const checks: readonly Told[] = [SPEAKS, ["dataplane", "passing"], ["config", "warning"]];
  assert.deepEqual(instance(checks), { node: "n1", cell: "c1", speaks: true, health: "warning" });
  assert.equal(instance([...checks, ["routing", "critical"]])?.health, "critical");
});

test("a node is silent when its heartbeat ran out or the Consul agent beside it is dead", () => {
  assert.equal(instance([["agent", "critical"]])?.speaks, false);
  assert.equal(instance([["dataplane", "passing"]])?.speaks, false);
  assert.equal(instance([SPEAKS], [["serfHealth", "critical"]])?.speaks, false);
});

test("only the agent's own words make a node critical, not a check that ran out or is new", () => {
  for (const output of ["", "TTL expired", "TTL expired (last output before timeout follows): Programmed"]) {
    assert.equal(instance([SPEAKS, ["dataplane", "critical", output]])?.health, "warning", output);
  }
});

test("maintenance of the node or of the service is a warning, that of another service is none", () => {
  for (const id of ["_node_maintenance", "_service_maintenance:natto-n1"]) {
    assert.equal(instance([SPEAKS], [[id, "critical", "by hand"]])?.health, "warning");
  }
  assert.equal(instance([SPEAKS], [["_service_maintenance:web", "critical", "by hand"]])?.health, "passing");
});

test("what somebody else registered under the service's name is passed over", () => {
  const foreign = { Service: { ID: "natto-x", Meta: { version: "1" } }, Checks: [] };
  assert.deepEqual(instancesOf(healthSchema.parse([foreign, { Service: { ID: "y", Meta: null } }])), []);
});

function judge(change: Partial<CatalogueInput>): Readonly<Record<string, string>> {
  const input = { instances: [], observations: new Map(), isHeard: () => true, settling: false };
  return Object.fromEntries(judgeCatalogue({ ...input, ...change }));
}

const well = (node: string): Instance => ({ node, cell: "c1", speaks: true, health: "passing" });
const silent = (node: string): Instance => ({ ...well(node), speaks: false, health: "critical" });
const sees = (node: string, peersAlive: readonly string[], cell = "c1"): Observations =>
  new Map([[node, { cell, renewals: 1, peersAlive, since: 0, beatAt: 0 }]]);

test("of a silent node the peers of its cell decide whose word is fresh, and never the checks that it left", () => {
  const instances = [well("n1"), silent("n2")];
  assert.deepEqual(judge({ instances, observations: sees("n1", ["n2"]) }), { n1: "alive", n2: "unmanaged" });
  assert.equal(judge({ instances, observations: sees("n1", []) }).n2, "gone");
  assert.equal(judge({ instances, observations: sees("n1", ["n2"]), isHeard: () => false }).n2, "gone");
  assert.equal(
    judge({ instances: [silent("n1"), silent("n2")], observations: sees("n1", ["n2"]) }).n2,
    "gone",
  );
  const elsewhere = [{ ...well("n1"), cell: "c2" }, silent("n2")];
  assert.equal(judge({ instances: elsewhere, observations: sees("n1", ["n2"], "c2") }).n2, "gone");
});

test("a node that only has a Lease is silent; while Consul settles nobody is gone by silence", () => {
  assert.equal(judge({ observations: sees("n1", []) }).n1, "gone");
  assert.equal(judge({ observations: sees("n1", []), settling: true }).n1, "unmanaged");
  const critical: Instance = { ...well("n1"), health: "critical" };
  assert.equal(judge({ instances: [critical], settling: true }).n1, "gone");
});

test("of a node that is registered on two machines the better news counts", () => {
  const both: readonly Instance[] = [{ ...well("n1"), health: "critical" }, silent("n1"), well("n1")];
  assert.deepEqual(judge({ instances: both }), { n1: "alive" });
});
