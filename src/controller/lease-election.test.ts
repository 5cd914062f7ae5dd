/** Election on a real cluster of etcd, whose leases say who lives: the contract, and leaders that are killed, stopped, cut off. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { after, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openEtcdStore } from "../store/etcd-store.ts";
import { cell, rejectsWith, until } from "../store/fixtures.ts";
import type { Store } from "../store/store.ts";
import { startEtcdCluster } from "../store/testing/etcd-cluster.ts";
import { startProxy } from "../store/testing/tcp-proxy.ts";
import type { CandidateNews, CandidateOrder } from "./candidate.scenario.ts";
import { contractOfElections, electionsOn, GROUP, SILENT, TTL_MS } from "./election-contract.ts";
import { openStoreElection } from "./store-election.ts";

// Fast elections, so that the shortest lease of etcd is a second.
const cluster = await startEtcdCluster({
  flags: ["--heartbeat-interval", "50", "--election-timeout", "500"],
});
after(() => cluster.close());

const KEY = { kind: "Leadership", name: GROUP } as const;
let prefixes = 0;

/** An empty store, and its address. */
function openEmpty(t: TestContext): { readonly store: Store; readonly url: string } {
  const url = cluster.url(`election-${prefixes++}`, "?deadlineMs=2000");
  return { store: openAt(t, url), url };
}

function openAt(t: TestContext, url: string): Store {
  const store = openEtcdStore(url);
  t.after(() => store.close());
  return store;
}

function candidate(t: TestContext, store: Store, holder: string) {
  const election = openStoreElection({ store, group: GROUP, holder, ttlMs: TTL_MS, logger: SILENT });
  t.after(() => election.close());
  return election;
}

contractOfElections("leases of etcd", async (t) => electionsOn(t, openEmpty(t).store));

interface Candidate {
  readonly child: ChildProcess;
  /** Asks and waits for the answer. */
  ask(order: CandidateOrder): Promise<CandidateNews>;
}

/** A candidate in a process of its own, which may be stopped as a whole. */
function startCandidate(t: TestContext, url: string, holder: string): Candidate {
  const program = fileURLToPath(new URL("candidate.scenario.ts", import.meta.url));
  const child = fork(program, [url, holder]);
  const ended = once(child, "exit");
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return {
    child,
    ask: async (order) => {
      const answer = once(child, "message");
      child.send(order);
      return (await answer)[0] as CandidateNews;
    },
  };
}

const holderIn = async (store: Store): Promise<string | undefined> => (await store.get(KEY))?.spec.holder;

test("etcd itself takes the leadership from a process that is killed, though nobody else stands for it", async (t) => {
  const { store, url } = openEmpty(t);
  const only = startCandidate(t, url, "only");
  await until(async () => (await holderIn(store)) === "only", "it leads");
  only.child.kill("SIGKILL");
  await until(async () => (await holderIn(store)) === undefined, "nobody leads");
});

test("a leader that is stopped and woken, and goes on where it was, is refused every write", async (t) => {
  const { store, url } = openEmpty(t);
  const stopped = startCandidate(t, url, "stopped");
  await until(async () => (await holderIn(store)) === "stopped", "it leads");
  assert.deepEqual(await stopped.ask({ create: "before" }), { outcome: "written" });
  const other = startCandidate(t, url, "other");
  stopped.child.kill("SIGSTOP");
  await until(async () => (await holderIn(store)) === "other", "the other leads");
  const late = stopped.ask({ create: "late" });
  stopped.child.kill("SIGCONT");
  assert.deepEqual(await late, { outcome: "Fenced" });
  assert.deepEqual(await other.ask({ create: "after" }), { outcome: "written" });
  const names = (await store.list({ kind: "Cell" })).items.map(({ metadata }) => metadata.name);
  assert.deepEqual(names, ["after", "before"]);
});

test("a leader that is cut off from etcd is followed by another, and knows by itself that it leads no more", async (t) => {
  const { store } = openEmpty(t);
  const proxies = await Promise.all(cluster.members.map(({ endpoint }) => startProxy(endpoint)));
  t.after(() => Promise.all(proxies.map((proxy) => proxy.close())));
  const prefix = store.description.split("/").at(-1);
  const far = openAt(
    t,
    `etcd://${proxies.map(({ endpoint }) => endpoint).join(",")}/${prefix}?deadlineMs=200`,
  );
  const cutOff = candidate(t, far, "cut-off");
  await until(() => cutOff.term() !== undefined, "it leads");
  const term = cutOff.term()!;
  const other = candidate(t, store, "other");
  for (const proxy of proxies) proxy.block(true);
  await until(() => cutOff.term() === undefined, "it knows that it leads no more");
  await until(() => other.term() !== undefined, "the other leads");
  for (const proxy of proxies) proxy.block(false);
  await rejectsWith(term.store.create(cell("c1")), "Fenced");
  await until(() => cutOff.leader() === "other", "it knows who leads");
});

test("a leader that gives up takes its leadership with it at once", async (t) => {
  const { store } = openEmpty(t);
  const leader = candidate(t, store, "a");
  await until(() => leader.term() !== undefined, "it leads");
  const lease = (await store.get(KEY))?.spec.lease;
  assert.match(await cluster.etcdctl("lease", "list"), new RegExp(BigInt(lease!).toString(16)));
  await leader.close();
  assert.equal(await store.get(KEY), undefined);
  assert.doesNotMatch(await cluster.etcdctl("lease", "list"), new RegExp(BigInt(lease!).toString(16)));
});

test("a leader holds on while nothing is written, and notices that somebody has deleted its leadership", async (t) => {
  const { store } = openEmpty(t);
  const leader = candidate(t, store, "a");
  await until(() => leader.term() !== undefined, "it leads");
  const [first, held] = [leader.term()!, await store.get(KEY)];
  const since = performance.now();
  await until(() => performance.now() - since > 3 * TTL_MS, "three times its time to live are over");
  assert.deepEqual(await store.get(KEY), held);
  assert.equal(leader.term(), first);
  await store.delete(KEY);
  await until(
    () => leader.term() !== undefined && leader.term() !== first,
    "it leads again, in another term",
  );
  await rejectsWith(first.store.create(cell("c1")), "Fenced");
});

test("what others write into an object that is bound to a lease leaves it bound", async (t) => {
  const { store } = openEmpty(t);
  const lease = await store.grantLease!(1_000);
  await lease.store.create(cell("c1", 1));
  await store.update(cell("c1", 2));
  assert.equal(await lease.prolong(), true);
  await store.create(cell("c2", 1));
  await lease.end();
  assert.deepEqual(
    (await store.list({ kind: "Cell" })).items.map(({ metadata }) => metadata.name),
    ["c2"],
  );
  assert.equal(await lease.prolong(), false);
  await lease.end();
  const error = await rejectsWith(lease.store.create(cell("c3")), "NotFound");
  assert.match(error.message, /requested lease not found; its time is over; take another lease/);
});

test("a leader of a version that renewed the leadership itself is waited for, and then followed", async (t) => {
  const { store } = openEmpty(t);
  const { grantLease: _, ...old } = store;
  const before = candidate(t, old, "old");
  await until(() => before.term() !== undefined, "the old one leads");
  const later = candidate(t, store, "new");
  await until(() => later.leader() === "old", "the new one knows");
  const [term, since] = [before.term()!, performance.now()];
  await until(() => performance.now() - since > 2 * TTL_MS, "twice its time to live are over");
  assert.equal(later.term(), undefined);
  await before.close();
  await until(() => later.term() !== undefined, "the new one leads");
  await rejectsWith(term.store.create(cell("c1")), "Fenced");
  await later.close();
  assert.equal(await store.get(KEY), undefined);
});
