import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { declareCloud, startHearts } from "../controller/fixtures.ts";
import { beat } from "../membership/fixtures.ts";
import { rejectsWith } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { confirmLost, undoConfirmation } from "./confirm-lost.ts";
import { natto } from "./fixtures.ts";

const FORCED = { force: true, say: () => {} };
const ASKED = { ...FORCED, force: false };

/** Three nodes of cell `c1`, whose time to live is a second. */
async function open(t: TestContext): Promise<Store> {
  const store = openMemoryStore();
  t.after(() => store.close());
  await declareCloud(store);
  const cell = await cellOf(store);
  const membership = { ...cell.spec.membership, ttlSeconds: 1 };
  await store.update<"Cell">({ ...cell, spec: { ...cell.spec, membership } });
  return store;
}

async function cellOf(store: Store) {
  const cell = await store.get({ kind: "Cell", name: "c1" });
  assert.ok(cell);
  return cell;
}

const lostIn = async (store: Store) => (await cellOf(store)).spec.membership.confirmedLost;

test("a silent node is named as lost in its cell, whose other settings stay, and the word can be taken back", async (t) => {
  const store = await open(t);
  await beat(store, "n1");
  const heard: string[] = [];
  const said = await confirmLost(store, "n1", { force: false, say: (line) => heard.push(line) });
  assert.match(said, /^node n1 is named as lost in cell c1: .*natto confirm-lost n1 --undo$/);
  assert.deepEqual(heard, ["listening for node n1 for 1 s (--force goes without)"]);
  const { membership } = (await cellOf(store)).spec;
  assert.deepEqual(membership, { ttlSeconds: 1, maxLossPercent: 50, confirmedLost: ["n1"] });
  assert.match(await confirmLost(store, "n1", FORCED), /already$/);
  assert.deepEqual(await lostIn(store), ["n1"]);
  assert.match(await undoConfirmation(store, "n1"), /^node n1 is not named as lost any more in cell c1/);
  assert.deepEqual(await lostIn(store), []);
  assert.match(await undoConfirmation(store, "n1"), /nothing was changed$/);
});

test("a node whose Lease is renewed is refused, unless it is forced", async (t) => {
  const store = await open(t);
  const hearts = startHearts(store, new Set(["n1"]));
  t.after(() => hearts.stop());
  const error = await rejectsWith(confirmLost(store, "n1", ASKED), "Rejected");
  assert.match(error.message, /^node n1 is not lost: its agent renews its Lease\..*--force$/);
  assert.deepEqual(await lostIn(store), []);
  await confirmLost(store, "n1", FORCED);
  assert.deepEqual(await lostIn(store), ["n1"]);
});

test("a silent node that a living peer sees forward is refused; the word of a dead peer does not count", async (t) => {
  const store = await open(t);
  await beat(store, "n1", ["n2"]);
  await beat(store, "n2", ["n1"]);
  const heart = startTaskLoop(async () => {
    await beat(store, "n3", ["n1"]);
    return 100;
  });
  t.after(() => heart.stop());
  const error = await rejectsWith(confirmLost(store, "n1", ASKED), "Rejected");
  assert.match(error.message, /its agent is silent, but its dataplane answers the probes of n3\./);
  await confirmLost(store, "n2", ASKED);
  assert.deepEqual(await lostIn(store), ["n2"]);
});

test("a node that never had a Lease is lost, one that does not exist is an error", async (t) => {
  const store = await open(t);
  await confirmLost(store, "n2", ASKED);
  assert.deepEqual(await lostIn(store), ["n2"]);
  for (const refused of [confirmLost(store, "n9", ASKED), undoConfirmation(store, "n9")]) {
    assert.match((await rejectsWith(refused, "NotFound")).message, /GatewayNode n9 does not exist/);
  }
});

test("the word about a node that was deleted meanwhile can be taken back", async (t) => {
  const store = await open(t);
  await confirmLost(store, "n2", FORCED);
  await store.delete({ kind: "GatewayNode", name: "n2" });
  await undoConfirmation(store, "n2");
  assert.deepEqual(await lostIn(store), []);
});

test("words that are given at the same time all stand", async (t) => {
  const store = await open(t);
  await Promise.all(["n3", "n1", "n2"].map((name) => confirmLost(store, name, FORCED)));
  assert.deepEqual(await lostIn(store), ["n1", "n2", "n3"]);
});

test("the command tells an unknown node by its exit code", async () => {
  const { code, stderr } = await natto(["confirm-lost", "n9", "--server", "memory:"]);
  assert.deepEqual([code, stderr.includes("GatewayNode n9 does not exist")], [4, true]);
});
