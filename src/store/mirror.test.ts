import assert from "node:assert/strict";
import { test } from "node:test";
import { cell, gateway, until } from "./fixtures.ts";
import { DEFAULT_HISTORY } from "./key-value.ts";
import { openMemoryStore } from "./memory-store.ts";
import { openMirror } from "./mirror.ts";

const QUICK = { retryMs: { first: 5, max: 20 } };

test("a mirror holds what the store holds, and follows it", async (t) => {
  const store = openMemoryStore();
  await store.create(cell("c1", 1));
  const mirror = openMirror(store, { kind: "Cell" });
  t.after(() => mirror.close());
  const told: string[] = [];
  mirror.onChange((change) => {
    if (change.type !== "STATE") told.push(`${change.type} ${change.object.metadata.name}`);
  });
  await mirror.untilSynced();
  assert.deepEqual(mirror.items(), (await store.list({ kind: "Cell" })).items);
  await store.create(cell("c0"));
  await store.update(cell("c1", 2));
  await store.delete({ kind: "Cell", name: "c0" });
  await until(() => told.length === 4, "all changes arrive");
  assert.deepEqual(told, ["ADDED c1", "ADDED c0", "MODIFIED c1", "DELETED c0"]);
  assert.deepEqual(mirror.items(), (await store.list({ kind: "Cell" })).items);
  assert.equal(mirror.get("c1")?.spec.vxlan.port, 2);
  assert.equal(mirror.get("c0"), undefined);
});

test("objects of the same name in two namespaces are told apart", async (t) => {
  const store = openMemoryStore();
  for (const namespace of ["a", "b"]) await store.create(gateway(namespace, "g1"));
  const mirror = openMirror(store, { kind: "NatGateway" });
  t.after(() => mirror.close());
  await mirror.untilSynced();
  assert.equal(mirror.get("g1", "b")?.metadata.namespace, "b");
  assert.equal(mirror.items().length, 2);
});

test("a mirror whose watch has expired lists again and tells only the difference", async (t) => {
  const store = openMemoryStore({ history: { ...DEFAULT_HISTORY, maxChanges: 8 } });
  for (const name of ["stays", "goes", "changes"]) await store.create(cell(name, 1));
  // A store whose first watch is cut, as by a network that comes back long after.
  let cut = new AbortController();
  let connected = true;
  const mirror = openMirror(
    {
      ...store,
      watch: async function* (selection, from, signal) {
        await until(() => connected || signal.aborted, "the connection is back");
        yield* store.watch(selection, from, AbortSignal.any([signal, cut.signal]));
      },
    },
    { kind: "Cell" },
    QUICK,
  );
  t.after(() => mirror.close());
  await mirror.untilSynced();
  const told: string[] = [];
  mirror.onChange((change) =>
    told.push(change.type === "STATE" ? "STATE" : `${change.type} ${change.object.metadata.name}`),
  );
  connected = false;
  cut.abort();
  cut = new AbortController();
  await store.delete({ kind: "Cell", name: "goes" });
  await store.update(cell("changes", 2));
  await store.create(cell("comes"));
  for (let i = 0; i < 20; i++) await store.create(gateway("a", `g${i}`));
  connected = true;
  await until(() => told.length === 3, "the difference arrives");
  assert.deepEqual(told.toSorted(), ["ADDED comes", "DELETED goes", "MODIFIED changes"]);
  assert.deepEqual(mirror.items(), (await store.list({ kind: "Cell" })).items);
});

test("a mirror of a store that is closed keeps its objects, and says since when it is stale and why", async (t) => {
  const store = openMemoryStore();
  await store.create(cell("c1"));
  const mirror = openMirror(store, { kind: "Cell" }, { ...QUICK, now: () => 1234 });
  t.after(() => mirror.close());
  await mirror.untilSynced();
  assert.equal(mirror.staleSince(), undefined);
  await store.close();
  await until(() => mirror.staleSince() !== undefined, "the loss is noticed");
  assert.equal(mirror.staleSince(), 1234);
  assert.equal(mirror.lastError()?.code, "Unavailable");
  assert.equal(mirror.get("c1")?.metadata.name, "c1");
});

test("waiting for a mirror that never hears of its store ends with the mirror", async () => {
  const store = openMemoryStore();
  await store.close();
  const mirror = openMirror(store, { kind: "Cell" }, QUICK);
  const waiting = mirror.untilSynced();
  await until(() => mirror.lastError() !== undefined, "the failure is noticed");
  assert.equal(mirror.synced(), false);
  await mirror.close();
  await waiting;
});
