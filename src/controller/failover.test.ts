/** Several real controllers over one real store: the one that leads is killed, paused and woken, and nobody notices. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { type TestContext, test } from "node:test";
import { lineWith, startNatto } from "../cli/fixtures.ts";
import { gateway } from "../planner/fixtures.ts";
import { until } from "../store/fixtures.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { startEtcdCluster } from "../store/testing/etcd-cluster.ts";
import { declare, declareCloud, owners, startHearts } from "./fixtures.ts";

/** The processes may be slow on a machine that does much else. */
const DEADLINE_MS = 60_000;

/** The address of a store for controllers, that lives as long as the test. */
const STORES: Readonly<Record<string, (t: TestContext) => Promise<string>>> = {
  "three members of etcd": async (t) => {
    const cluster = await startEtcdCluster();
    t.after(() => cluster.close());
    return cluster.url("failover");
  },
  "one natto server": async (t) => {
    const server = startNatto(t, ["server", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    return JSON.parse(await lineWith(server.stderr!, '"msg":"ready"')).url;
  },
};

interface Candidate {
  readonly child: ChildProcess;
  /** Where its metrics are. */
  readonly metrics: string;
}

async function startCandidate(t: TestContext, store: string): Promise<Candidate> {
  const options = ["--store", store, "--election-ttl", "1", "--metrics-listen", "127.0.0.1:0"];
  const child = startNatto(t, ["controller", ...options]);
  const ready = JSON.parse(await lineWith(child.stderr!, '"msg":"ready"')) as { readonly metrics: string };
  return { child, metrics: ready.metrics };
}

/** One metric of a candidate. */
async function metric({ metrics }: Candidate, name: string): Promise<number> {
  const text = await (await fetch(metrics)).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1));
}

/** The candidate that the store says leads. */
async function leaderOf(store: Store, candidates: readonly Candidate[]): Promise<Candidate | undefined> {
  const leadership = await store.get({ kind: "Leadership", name: "controller" });
  return candidates.find(({ child }) => leadership?.spec.holder.includes(`-${child.pid}-`));
}

async function untilLed(
  store: Store,
  candidates: readonly Candidate[],
  by: (leader: Candidate) => boolean,
): Promise<Candidate> {
  let leader: Candidate | undefined;
  const found = async (): Promise<boolean> => {
    leader = await leaderOf(store, candidates);
    return leader !== undefined && by(leader);
  };
  await until(found, "another controller leads", DEADLINE_MS);
  return leader!;
}

for (const [name, openAddress] of Object.entries(STORES)) {
  test(`controllers on ${name}: whichever is killed or paused, what is declared is planned, once`, async (t) => {
    const url = await openAddress(t);
    const store = await openStore(url);
    t.after(() => store.close());
    await declareCloud(store);
    const beating = new Set(["n1", "n2", "n3"]);
    const hearts = startHearts(store, beating);
    t.after(hearts.stop);
    const candidates = await Promise.all([1, 2, 3].map(() => startCandidate(t, url)));
    const ownersAre = (expected: string) =>
      until(
        async () => [...(await owners(store)).keys()].sort().join() === expected,
        `${expected} own the slots`,
        DEADLINE_MS,
      );
    await ownersAre("n1,n2,n3");

    const first = await untilLed(store, candidates, () => true);
    first.child.kill("SIGKILL");
    beating.delete("n3");
    await ownersAre("n1,n2");

    const second = await untilLed(store, candidates, (leader) => leader !== first);
    second.child.kill("SIGSTOP");
    await declare(store, gateway("g3"));
    await until(
      async () => (await owners(store, "g3")).size === 2,
      "the gateway is planned by another",
      DEADLINE_MS,
    );
    const third = await untilLed(store, candidates, (leader) => leader !== first && leader !== second);
    const before = (await store.list({ kind: "Placement" })).items;
    second.child.kill("SIGCONT");
    await until(
      async () => (await metric(second, "natto_controller_leads")) === 0,
      "the one that was paused stands by",
      DEADLINE_MS,
    );
    assert.equal(await metric(third, "natto_controller_leads"), 1);
    assert.deepEqual((await store.list({ kind: "Placement" })).items, before);

    beating.add("n3");
    await ownersAre("n1,n2,n3");
    third.child.kill("SIGTERM");
    await untilLed(store, candidates, (leader) => leader === second);
    beating.delete("n1");
    await ownersAre("n2,n3");
    assert.equal(await metric(second, "natto_controller_terms_total"), 2);
  });
}
