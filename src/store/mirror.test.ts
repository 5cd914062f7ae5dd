import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { SYSTEM_CLOCK } from "../clock.ts";
import { type RunningServer, startServer } from "../server/server.ts";
import { cell, gateway, until } from "./fixtures.ts";
import { openHttpStore } from "./http-store.ts";
import { DEFAULT_HISTORY } from "./key-value.ts";
import { openMemoryStore } from "./memory-store.ts";
import { openMirror } from "./mirror.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import type { Store } from "./store.ts";

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
  const mirror = openMirror(
    store,
    { kind: "Cell" },
    { ...QUICK, clock: { ...SYSTEM_CLOCK, now: () => 1234 } },
  );
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

const logger = pino({ level: "silent" });

async function serve(store: Store, port: number): Promise<RunningServer> {
  return startServer({ store, host: "127.0.0.1", port, logger });
}

/** Rounds of: the server goes, objects change meanwhile, the server comes back. */
async function outages(t: TestContext, maxChanges: number, changesPerOutage: number) {
  const folder = await mkdtemp(join(tmpdir(), "natto-mirror-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "natto.db");
  const open = () => openSqliteStore(path, { history: { ...DEFAULT_HISTORY, maxChanges } });
  let store = open();
  let server = await serve(store, 0);
  const port = Number(new URL(server.url).port);
  const mirror = openMirror(openHttpStore(server.url), { kind: "Cell" }, { retryMs: { first: 5, max: 50 } });
  t.after(async () => {
    await mirror.close();
    await server.close();
    await store.close();
  });
  await mirror.untilSynced();
  const seen = new Map<string, string>();
  mirror.onChange((change) => {
    if (change.type === "DELETED") seen.delete(change.object.metadata.name);
    else if (change.type !== "STATE")
      seen.set(change.object.metadata.name, change.object.metadata.resourceVersion);
  });
  for (let round = 0; round < 4; round++) {
    const before = mirror.items();
    await server.close();
    await until(() => mirror.staleSince() !== undefined, "the outage is noticed");
    assert.equal(mirror.lastError()?.code, "Unavailable");
    assert.deepEqual(mirror.items(), before, "what was known stays");
    for (let i = 0; i < changesPerOutage; i++) {
      const name = `c${(round + i) % 7}`;
      const exists = (await store.get({ kind: "Cell", name })) !== undefined;
      if (!exists) await store.create(cell(name, 1 + i));
      else if (i % 3 === 0) await store.delete({ kind: "Cell", name });
      else await store.update(cell(name, 1000 + round * 100 + i));
    }
    await store.close();
    store = open();
    server = await serve(store, port);
    const { items } = await store.list({ kind: "Cell" });
    const versions = items.map(({ metadata }) => metadata.resourceVersion).join();
    await until(
      () =>
        mirror
          .items()
          .map(({ metadata }) => metadata.resourceVersion)
          .join() === versions,
      "the mirror has caught up",
    );
    await until(() => mirror.staleSince() === undefined, "the mirror knows that it is fresh");
    assert.deepEqual(mirror.items(), items);
    assert.deepEqual(
      [...seen].sort(),
      items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]).sort(),
      "the changes that were told add up to the same",
    );
  }
}

test("a mirror whose server goes and comes back resumes where it was and ends up equal to the store", async (t) => {
  await outages(t, 10_000, 10);
});

test("a mirror that was away for longer than the past is kept lists again and ends up equal to the store", async (t) => {
  await outages(t, 8, 30);
});
