/** Who may use etcd and how it says no: TLS, users, tokens, quota, sizes. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { status as Status } from "@grpc/grpc-js";
import { NattoError } from "../errors.ts";
import { readNamedFile } from "../named-file.ts";
import { openEtcdClient } from "./etcd-client.ts";
import { RANGE } from "./etcd-rpc.ts";
import { etcdSettings } from "./etcd-settings.ts";
import { makeEtcdDriver, openEtcdStore } from "./etcd-store.ts";
import { cell, rejectsWith, until, writeOne } from "./fixtures.ts";
import type { Store } from "./store.ts";
import {
  type ClusterOptions,
  type EtcdCluster,
  makeCertificates,
  startEtcdCluster,
} from "./testing/etcd-cluster.ts";

async function startOne(t: TestContext, options: ClusterOptions = {}): Promise<EtcdCluster> {
  const cluster = await startEtcdCluster({ members: 1, ...options });
  t.after(() => cluster.close());
  return cluster;
}

function open(t: TestContext, url: string, environment: Readonly<Record<string, string>> = {}): Store {
  const store = openEtcdStore(url, { bookmarkMs: 100 }, environment);
  t.after(() => store.close());
  return store;
}

/** Resolves with the first change of a cell after `from`. */
async function firstChange(t: TestContext, store: Store, from: string): Promise<string> {
  for await (const event of store.watch({ kind: "Cell" }, from, t.signal)) {
    if (event.type !== "BOOKMARK") return `${event.type} ${event.object.metadata.name}`;
  }
  return assert.fail("the watch ended");
}

test("with mutual TLS the right certificates get in, and every other attempt is told what is wrong", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "natto-tls-"));
  t.after(() => rm(folder, { recursive: true }));
  const { good, otherCa } = await makeCertificates(folder);
  const cluster = await startOne(t, { tls: good });
  const own = `cert=${good.cert}&key=${good.key}`;

  const store = open(t, cluster.url("tls", `?ca=${good.ca}&${own}`));
  const { resourceVersion } = await store.list({ kind: "Cell" });
  await store.create(cell("c1"));
  assert.equal(await firstChange(t, store, resourceVersion), "ADDED c1");

  for (const [query, code, words] of [
    [`?ca=${otherCa}&${own}`, "Environment", /certificate.*; check that ca names the authority/],
    [`?${own}`, "Environment", /certificate.*; check that ca names the authority/],
    [`?ca=${good.ca}`, "Environment", /: .*alert (bad )?certificate.*; .*give cert and key/],
    ["", "Unavailable", /whether it wants TLS \(ca, cert, key\)/],
  ] as const) {
    const error = await rejectsWith(open(t, cluster.url("tls", query)).list({ kind: "Cell" }), code);
    assert.match(error.message, words, query);
    assert.match(error.message, /etcd member localhost:\d+/);
  }
  const byAddress = cluster.url("tls", `?ca=${good.ca}&${own}`).replace("localhost", "127.0.0.1");
  const misnamed = await rejectsWith(open(t, byAddress).list({ kind: "Cell" }), "Environment");
  assert.match(misnamed.message, /name this host/);

  const missing = `?ca=${join(folder, "nowhere.pem")}`;
  assert.throws(
    () => openEtcdStore(cluster.url("tls", missing), {}, {}),
    (error) =>
      error instanceof NattoError && error.code === "Environment" && /nowhere\.pem/.test(error.message),
  );
});

test("TLS to a member that does not speak it is told apart", async (t) => {
  const cluster = await startOne(t);
  const speaking = open(t, cluster.url("p", "?tls=true"));
  const error = await rejectsWith(speaking.list({ kind: "Cell" }), "Unavailable");
  assert.match(error.message, /if this member does not speak TLS, take tls/);
  const needless = open(t, cluster.url("p", "?user=natto"), { NATTO_ETCD_PASSWORD: "secret" });
  assert.match(
    (await rejectsWith(needless.list({ kind: "Cell" }), "Environment")).message,
    /authentication is not enabled; run etcdctl auth enable, or take the user out/,
  );
});

/** Users root and natto, of whom natto may read and write below /cloud/. */
async function enableAuth(cluster: EtcdCluster): Promise<(...args: readonly string[]) => Promise<string>> {
  await cluster.etcdctl("user", "add", "root:toor");
  await cluster
    .etcdctl("user", "grant-role", "root", "root")
    .catch(() => cluster.etcdctl("role", "add", "root"));
  await cluster.etcdctl("user", "grant-role", "root", "root");
  await cluster.etcdctl("role", "add", "natto");
  await cluster.etcdctl("role", "grant-permission", "natto", "--prefix=true", "readwrite", "/cloud/");
  await cluster.etcdctl("user", "add", "natto:secret");
  await cluster.etcdctl("user", "grant-role", "natto", "natto");
  await cluster.etcdctl("auth", "enable");
  return (...args) => cluster.etcdctl("--user", "root:toor", ...args);
}

test("a user gets as far as its role reaches, and a wrong or missing password says so", async (t) => {
  const cluster = await startOne(t);
  await enableAuth(cluster);
  const environment = { NATTO_ETCD_PASSWORD: "secret" };
  const store = open(t, cluster.url("cloud", "?user=natto"), environment);
  const { resourceVersion } = await store.list({ kind: "Cell" });
  await store.create(cell("c1"));
  assert.equal(await firstChange(t, store, resourceVersion), "ADDED c1");
  const lease = await store.grantLease!(60_000);
  await lease.store.create(cell("c2"));
  assert.equal(await lease.prolong(), true);
  await lease.end();
  assert.equal(await store.get({ kind: "Cell", name: "c2" }), undefined);

  const wrong = open(t, cluster.url("cloud", "?user=natto"), { NATTO_ETCD_PASSWORD: "guess" });
  assert.match(
    (await rejectsWith(wrong.list({ kind: "Cell" }), "Environment")).message,
    /authentication failed.*; check the user and the password/,
  );
  const nobody = open(t, cluster.url("cloud"));
  assert.match(
    (await rejectsWith(nobody.list({ kind: "Cell" }), "Environment")).message,
    /wants a user: add user=NAME/,
  );
  const elsewhere = open(t, cluster.url("other", "?user=natto"), environment);
  for (const attempt of [
    elsewhere.list({ kind: "Cell" }),
    elsewhere.create(cell("c1")),
    firstChange(t, elsewhere, resourceVersion),
  ]) {
    assert.match(
      (await rejectsWith(attempt, "Environment")).message,
      /permission denied; grant the user a role/,
    );
  }
});

test("a token that has expired, or was taken away with its user, is replaced by a new login", async (t) => {
  const cluster = await startOne(t, { flags: ["--auth-token-ttl", "1"] });
  const asRoot = await enableAuth(cluster);
  const url = cluster.url("cloud", "?user=natto&deadlineMs=2000");
  const settings = etcdSettings(url, { NATTO_ETCD_PASSWORD: "secret" }, readNamedFile);
  const client = openEtcdClient(settings, 0);
  t.after(() => client.close());
  const watcher = makeEtcdDriver(settings, { bookmarkMs: 60_000 });
  t.after(() => watcher.close());
  const request = { key: Buffer.from("/cloud/x") };
  const refusesOldToken = () =>
    assert.rejects(client.readAt(client.member(), RANGE, request), { code: Status.UNAUTHENTICATED });
  /** A watch with the token of the driver's last call. */
  const untilWatching = async (from: number): Promise<void> => {
    for await (const batch of watcher.watch("Cell/", from, t.signal)) {
      if (batch.changes.length === 0) return;
    }
  };

  await client.read(RANGE, request);
  const { revision } = await watcher.range("Cell/");
  // Only time makes a token expire, and each look at it would prolong its life.
  const expiry = performance.now() + 3_000;
  await until(() => performance.now() > expiry, "the token has expired");
  await refusesOldToken();
  await client.read(RANGE, request);
  await untilWatching(revision);

  await asRoot("user", "delete", "natto");
  await asRoot("user", "add", "natto:secret");
  await asRoot("user", "grant-role", "natto", "natto");
  await refusesOldToken();
  await client.read(RANGE, request);
  await untilWatching(revision);
});

test("a full etcd refuses writes with the alarm and the remedy, serves reads, and takes writes when that is done", async (t) => {
  const cluster = await startOne(t, { flags: ["--quota-backend-bytes", String(2 * 1024 * 1024)] });
  const driver = makeEtcdDriver(etcdSettings(cluster.url("full", "?deadlineMs=2000"), {}, readNamedFile));
  t.after(() => driver.close());
  const value = "x".repeat(200_000);
  const fill = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) await writeOne(driver, { key: `k${i}`, value, expected: 0 });
  };
  const error = await rejectsWith(fill(), "Unavailable");
  assert.match(
    error.message,
    /database space exceeded; .*alarm NOSPACE.*compact and defragment.*etcdctl alarm disarm/,
  );

  const { entries, revision } = await driver.range("k");
  assert(entries.length > 0);
  await cluster.etcdctl("del", "--prefix", "/full/");
  await cluster.etcdctl("compact", String(revision + 1));
  await cluster.etcdctl("defrag");
  await cluster.etcdctl("alarm", "disarm");
  assert((await writeOne(driver, { key: "k0", value, expected: 0 })) !== undefined);
});

test("a value that is larger than etcd takes is TooLarge, and nothing is stored", async (t) => {
  const cluster = await startOne(t);
  const driver = makeEtcdDriver(etcdSettings(cluster.url("large", "?deadlineMs=5000"), {}, readNamedFile));
  t.after(() => driver.close());
  for (const bytes of [1_700_000, 5_000_000]) {
    const error = await rejectsWith(
      writeOne(driver, { key: "k", value: "x".repeat(bytes), expected: 0 }),
      "TooLarge",
    );
    assert.match(error.message, /make the object smaller, or raise --max-request-bytes/);
  }
  assert.equal(await driver.get("k"), undefined);
});
