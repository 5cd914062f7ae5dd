/** The store on a real cluster of etcd while connections, members and the quorum fail: nothing acknowledged is lost, no change is told twice or not at all. */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import { openEtcdClient } from "./etcd-client.ts";
import { COMPACT, TXN } from "./etcd-rpc.ts";
import { type EtcdSettings, etcdSettings } from "./etcd-settings.ts";
import { type EtcdStoreOptions, makeEtcdDriver, settle } from "./etcd-store.ts";
import { cell, rejectsWith, until, writeOne } from "./fixtures.ts";
import type { Change, KeyValueStore } from "./key-value.ts";
import { openMirror } from "./mirror.ts";
import { makeObjectStore } from "./object-store.ts";
import { startEtcdCluster } from "./testing/etcd-cluster.ts";
import { startProxy, type TcpProxy } from "./testing/tcp-proxy.ts";

// Shared by all tests, each with a prefix of its own; each leaves it healthy.
const cluster = await startEtcdCluster();
after(() => cluster.close());

const QUICK = { retryMs: { first: 5, max: 50 } };
let prefixes = 0;

function freshSettings(endpoints = cluster.members.map(({ endpoint }) => endpoint)): EtcdSettings {
  return etcdSettings(`etcd://${endpoints.join(",")}/outage-${prefixes++}`, {}, assert.fail);
}

function open(t: TestContext, settings: EtcdSettings, options: EtcdStoreOptions = {}): KeyValueStore {
  const driver = makeEtcdDriver(settings, { startAt: 0, ...options });
  t.after(() => driver.close());
  return driver;
}

async function proxyTo(t: TestContext, endpoint: string): Promise<TcpProxy> {
  const proxy = await startProxy(endpoint);
  t.after(() => proxy.close());
  return proxy;
}

/** Puts many keys with few transactions: `perWrite` keys share a revision. Returns the keys in the order in which watches tell them. */
async function putMany(
  t: TestContext,
  settings: EtcdSettings,
  { writes, perWrite, value }: { readonly writes: number; readonly perWrite: number; readonly value: string },
): Promise<readonly string[]> {
  const client = openEtcdClient({ ...settings, deadlineMs: 10_000 }, 0);
  t.after(() => client.close());
  const keys: string[] = [];
  for (let write = 0; write < writes; write++) {
    const names = Array.from({ length: perWrite }, (_, i) => `Cell//${write}-${String(i).padStart(3, "0")}`);
    await client.read(TXN, {
      compare: [],
      success: names.map((name) => ({
        request_put: { key: Buffer.from(settings.prefix + name), value: Buffer.from(value) },
      })),
    });
    keys.push(...names);
  }
  return keys;
}

async function revisionOf(driver: KeyValueStore): Promise<number> {
  return (await driver.range("Cell/")).revision;
}

async function compact(t: TestContext, revision: number): Promise<void> {
  const client = openEtcdClient(freshSettings(), 0);
  t.after(() => client.close());
  await client.read(COMPACT, { revision });
}

/** A watch in the background that collects the changes. */
function record(t: TestContext, driver: KeyValueStore, from: number) {
  const controller = new AbortController();
  t.after(() => controller.abort());
  const changes: Change[] = [];
  let bookmarks = 0;
  const ended = (async () => {
    for await (const batch of driver.watch("Cell/", from, controller.signal)) {
      changes.push(...batch.changes);
      if (batch.changes.length === 0) bookmarks++;
    }
  })();
  // Whoever awaits `ended` still sees the failure.
  ended.catch(() => {});
  return { changes, ended, bookmarks: () => bookmarks };
}

test("connections that are cut all through a replay lose no change and repeat none", async (t) => {
  const proxy = await proxyTo(t, cluster.members[0]!.endpoint);
  const settings = freshSettings([proxy.endpoint]);
  const driver = open(t, settings);
  const from = await revisionOf(driver);
  const keys = await putMany(t, settings, { writes: 400, perWrite: 10, value: "x".repeat(500) });
  const seen: string[] = [];
  let cuts = 0;
  for await (const { changes } of driver.watch("Cell/", from, t.signal)) {
    seen.push(...changes.map(({ key }) => key));
    if (seen.length === keys.length) break;
    // At once, so that the rest of what is on its way is lost with the connection.
    if (changes.length > 0 && cuts < 10) {
      cuts++;
      proxy.cut();
    }
  }
  assert.deepEqual(seen, keys);
  assert(cuts > 0 && proxy.connections() > cuts, `${cuts} cuts, ${proxy.connections()} connections`);
});

test("answers in fragments are put together", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings);
  const from = await revisionOf(driver);
  // More than two megabytes to be told at once: etcd cuts that into messages of about one and a half.
  const keys = await putMany(t, settings, { writes: 6, perWrite: 50, value: "x".repeat(20_000) });
  const watch = record(t, driver, from);
  await until(() => watch.changes.length >= keys.length, "all changes arrive");
  assert.deepEqual(
    watch.changes.map(({ key }) => key),
    keys,
  );
});

test("a watcher that does not read while 20,000 changes are made is told all of them afterwards", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings);
  const from = await revisionOf(driver);
  let keys: readonly string[] | undefined;
  const seen: string[] = [];
  for await (const { changes } of driver.watch("Cell/", from, t.signal)) {
    keys ??= await putMany(t, settings, { writes: 200, perWrite: 100, value: "x".repeat(300) });
    seen.push(...changes.map(({ key }) => key));
    if (seen.length >= keys.length) break;
  }
  assert.deepEqual(seen, keys);
});

test("a list of many pages shows one revision, whatever is written meanwhile", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings);
  await putMany(t, settings, { writes: 30, perWrite: 50, value: "x".repeat(10_000) });
  let listed = false;
  const rewriting = (async () => {
    for (let i = 0; !listed; i++) {
      const key = `Cell//${i % 30}-000`;
      const entry = await driver.get(key);
      await writeOne(driver, { key, value: `new ${i}`, expected: entry?.revision ?? 0 });
    }
  })();
  const { entries, revision } = await driver.range("Cell/");
  listed = true;
  await rewriting;
  assert.equal(entries.length, 1_500);
  assert.equal(new Set(entries.map(({ key }) => key)).size, 1_500);
  assert(entries.every((entry) => entry.revision <= revision));
  assert((await revisionOf(driver)) > revision, "something was written while the list was read");
});

test("when the leader is killed under writes, nothing acknowledged is lost and watches go on", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings);
  const watch = record(t, driver, await revisionOf(driver));
  const acknowledged = new Map<string, number>();
  let stopping = false;
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let i = 0; !stopping; i++) {
      const key = `Cell//w${writer}-${i}`;
      try {
        const revision = await writeOne(driver, { key, value: `${i}`, expected: 0 });
        assert(revision !== undefined, `${key} was taken to exist already`);
        acknowledged.set(key, revision);
      } catch (error) {
        assert(error instanceof NattoError && error.code === "Unavailable", String(error));
      }
    }
  });
  await until(() => acknowledged.size >= 20, "some writes are acknowledged");
  const leader = await cluster.leader();
  await leader.kill();
  const before = acknowledged.size;
  await until(() => acknowledged.size >= before + 50, "writes are acknowledged without that member", 20_000);
  stopping = true;
  await Promise.all(writers);
  leader.restart();
  await cluster.untilHealthy();

  const { entries } = await driver.range("Cell/");
  const stored = new Map(entries.map(({ key, revision }) => [key, revision]));
  for (const [key, revision] of acknowledged) assert.equal(stored.get(key), revision, key);
  await until(() => watch.changes.length >= entries.length, "the watch tells of all that is stored");
  assert.deepEqual(
    watch.changes.map(({ key, revision }) => [key, revision]),
    [...stored].sort(([, a], [, b]) => a - b),
  );
});

test("while the member that is used is paused, reads, updates and watches go on with the others", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings, { bookmarkMs: 100 });
  const store = makeObjectStore(driver);
  await store.create(cell("c1", 1));
  const from = await revisionOf(driver);
  const watch = record(t, driver, from);
  await until(() => watch.bookmarks() > 0, "the watch has caught up");
  const [paused] = cluster.members;
  paused!.pause();
  try {
    // Sent to the paused member first: whether it was carried out is found out from another one.
    const updated = await store.update(cell("c1", 2));
    assert.equal((await store.get({ kind: "Cell", name: "c1" }))?.spec.vxlan.port, 2);
    await until(() => watch.changes.length === 1, "the watch goes on");
    assert.equal(String(watch.changes[0]?.revision), updated.metadata.resourceVersion);
  } finally {
    paused!.resume();
  }
  await cluster.untilHealthy();
  const last = await store.update(cell("c1", 3));
  await until(() => watch.changes.length >= 2, "the watch tells of the last update");
  assert.deepEqual(
    watch.changes.slice(1).map(({ revision }) => String(revision)),
    [last.metadata.resourceVersion],
  );
});

test("a write whose acknowledgement is lost is found to have taken place", async (t) => {
  const [first, second] = cluster.members;
  const proxy = await proxyTo(t, first!.endpoint);
  const settings = freshSettings([proxy.endpoint, second!.endpoint]);
  const driver = open(t, settings);
  const store = makeObjectStore(driver);
  const from = await revisionOf(driver);
  proxy.mute();
  const created = await store.create(cell("c1"));
  assert.deepEqual(await store.get({ kind: "Cell", name: "c1" }), created);
  const watch = record(t, driver, from);
  await until(() => watch.bookmarks() > 0, "the watch has caught up");
  assert.equal(watch.changes.length, 1);
});

test("what became of a write is judged by what its key holds", () => {
  const entry = (value: string, revision: number) => ({ key: "k", value, revision });
  const put = { key: "k", value: "new", expected: 5 };
  assert.equal(settle(put, entry("old", 5)), "pending");
  assert.equal(settle(put, entry("new", 6)), "done");
  assert.equal(settle(put, entry("other", 7)), "unclear");
  assert.equal(settle(put, undefined), "unclear");
  const create = { key: "k", value: "new", expected: 0 };
  assert.equal(settle(create, entry("new", 6)), "done");
  assert.equal(settle(create, entry("other", 6)), "unclear");
  assert.equal(settle(create, undefined), "unclear");
  const deletion = { key: "k", value: undefined, expected: 5 };
  assert.equal(settle(deletion, undefined), "done");
  assert.equal(settle(deletion, entry("old", 5)), "pending");
  assert.equal(settle(deletion, entry("born again", 9)), "unclear");
});

test("a mirror that was away while its past was compacted lists again and converges", async (t) => {
  const proxy = await proxyTo(t, cluster.members[1]!.endpoint);
  const settings = freshSettings([proxy.endpoint]);
  const near = makeObjectStore(open(t, settings));
  const direct = makeObjectStore(open(t, { ...settings, endpoints: freshSettings().endpoints }));
  for (const name of ["stays", "goes", "changes"]) await direct.create(cell(name, 1));
  const mirror = openMirror(near, { kind: "Cell" }, QUICK);
  t.after(() => mirror.close());
  await mirror.untilSynced();
  const from = (await direct.list({ kind: "Cell" })).resourceVersion;

  proxy.block(true);
  await until(() => mirror.staleSince() !== undefined, "the mirror knows that it is cut off");
  assert.equal(mirror.lastError()?.code, "Unavailable");
  await direct.delete({ kind: "Cell", name: "goes" });
  await direct.update(cell("changes", 2));
  await direct.create(cell("comes"));
  const now = await direct.list({ kind: "Cell" });
  await compact(t, Number(now.resourceVersion));
  assert.equal(mirror.items().length, 3, "what was known last stands");

  proxy.block(false);
  await until(() => mirror.staleSince() === undefined, "the mirror is back");
  assert.deepEqual(mirror.items(), now.items);
  const watch = direct.watch({ kind: "Cell" }, from, t.signal)[Symbol.asyncIterator]();
  assert.match((await rejectsWith(watch.next(), "Expired")).message, /compacted.*list again/);
});

test("a deletion at the very revision that was compacted is Expired, not left out", async (t) => {
  const settings = freshSettings();
  const driver = open(t, settings);
  const created = await writeOne(driver, { key: "Cell//c1", value: "{}", expected: 0 });
  assert(created !== undefined);
  const deleted = await writeOne(driver, { key: "Cell//c1", value: undefined, expected: created });
  assert(deleted !== undefined);
  const other = await writeOne(driver, { key: "Cell//c2", value: "{}", expected: 0 });
  await compact(t, deleted);
  await rejectsWith(record(t, driver, created).ended, "Expired");
  const rest = record(t, driver, deleted);
  await until(() => rest.changes.length === 1, "a watch from the compacted revision goes on");
  assert.equal(rest.changes[0]?.revision, other);
});

test("without a quorum calls are Unavailable and mirrors keep what they knew; with it all goes on", async (t) => {
  const store = makeObjectStore(open(t, freshSettings(), { bookmarkMs: 100 }));
  const kept = await store.create(cell("kept"));
  const mirror = openMirror(store, { kind: "Cell" }, QUICK);
  t.after(() => mirror.close());
  await mirror.untilSynced();
  const [, second, third] = cluster.members;
  await Promise.all([second!.kill(), third!.kill()]);

  const error = await rejectsWith(store.create(cell("lost")), "Unavailable");
  assert.match(error.message, /etcd member 127\.0\.0\.1:\d+/);
  await rejectsWith(store.list({ kind: "Cell" }), "Unavailable");
  await until(() => mirror.staleSince() !== undefined, "the mirror knows that it is cut off", 20_000);
  assert.deepEqual(mirror.items(), [kept]);

  second!.restart();
  third!.restart();
  await cluster.untilHealthy();
  const created = await store.create(cell("new"));
  await until(() => mirror.get("new") !== undefined, "the mirror goes on", 20_000);
  assert.equal(mirror.staleSince(), undefined);
  assert.deepEqual(mirror.get("new"), created);
  assert.deepEqual(mirror.items(), (await store.list({ kind: "Cell" })).items);
});

test("when nobody is there, the error names the address; a closed store says so", async (t) => {
  const driver = open(t, freshSettings(["127.0.0.1:1"]));
  assert.match(
    (await rejectsWith(driver.get("Cell//c1"), "Unavailable")).message,
    /cannot reach etcd member 127\.0\.0\.1:1: .*ECONNREFUSED.*; check that etcd runs there/,
  );
  await rejectsWith(record(t, driver, 1).ended, "Unavailable");
  const used = open(t, freshSettings());
  const watch = record(t, used, await revisionOf(used));
  await until(() => watch.bookmarks() > 0, "the watch waits");
  await used.close();
  assert.match((await rejectsWith(watch.ended, "Unavailable")).message, /was closed; open it again/);
  await rejectsWith(used.get("Cell//c1"), "Unavailable");
});
