import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { startServer } from "../server/server.ts";
import { cell, until } from "../store/fixtures.ts";
import { openHttpStore } from "../store/http-store.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { startProxy } from "../store/testing/tcp-proxy.ts";
import { contractOfMemberships } from "./contract.ts";
import { beat } from "./fixtures.ts";
import { openStoreMembership } from "./store-membership.ts";

const logger = pino({ level: "silent" });

/** A store with one cell (time to live 3 s), a membership on it, and a clock in our hands. */
async function open(t: TestContext, store: Store = openMemoryStore()) {
  let time = 0;
  let looks = 0;
  const elapsed = (): number => {
    looks++;
    return time;
  };
  const clock: Clock = { ...SYSTEM_CLOCK, elapsed };
  await store.create(cell("c1"));
  const start = () => openStoreMembership(store, { clock, tickMs: 2 });
  /** Lets the clock go on and waits until the membership has looked at it and judged. */
  const advance = async (ms: number): Promise<void> => {
    time += ms;
    const before = looks;
    // The loop that judges looks three times: two whole turns.
    await until(() => looks >= before + 6, "it is judged");
  };
  const membership = start();
  t.after(() => membership.close());
  return {
    store,
    membership,
    start,
    /** Lets time pass in steps that are no standstill. */
    pass: async (ms: number) => {
      for (let left = ms; left > 0; left -= 500) await advance(Math.min(500, left));
    },
    jump: advance,
    beat: (name: string, peersAlive: string[] = [], membership?: "consul") =>
      beat(store, name, peersAlive, membership),
  };
}

contractOfMemberships("store", async (t) => {
  const inner = openMemoryStore();
  const server = await startServer({ store: inner, host: "127.0.0.1", port: 0, logger });
  t.after(() => server.close());
  const proxy = await startProxy(new URL(server.url).host);
  t.after(() => proxy.close());
  const store = openHttpStore(`http://${proxy.endpoint}`);
  const { membership, pass } = await open(t, store);
  const living = new Map<string, readonly string[]>();
  return {
    membership,
    live: async (node, peersAlive = []) => {
      living.set(node, peersAlive);
      await beat(inner, node, peersAlive);
    },
    fallSilent: async (node) => {
      living.delete(node);
      for (let i = 0; i < 4; i++) {
        for (const [other, peersAlive] of living) {
          await beat(inner, other, peersAlive);
          await until(() => membership.current().get(other) === "alive", `${other} is heard`);
        }
        await pass(1_000);
      }
    },
    goAway: async () => proxy.block(true),
    comeBack: async () => proxy.block(false),
  };
});

test("a node that beats is alive; one that falls silent is gone; one that beats again is alive", async (t) => {
  const { membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  assert.equal(membership.current().get("n1"), undefined);
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");
  await pass(2_500);
  assert.equal(membership.current().get("n1"), "alive");
  await pass(500);
  await until(() => membership.current().get("n1") === "gone", "n1 is gone");
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is back");
});

test("a silent node that a living peer sees is unmanaged", async (t) => {
  const { membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");
  await pass(2_500);
  await beat("n2", ["n1"]);
  await until(() => membership.current().get("n2") === "alive", "n2 is alive");
  await pass(500);
  await until(() => membership.current().get("n1") === "unmanaged", "n1 is unmanaged");
});

test("a membership that has just begun calls nobody gone before it has listened for a time to live", async (t) => {
  const { start, beat, pass } = await open(t);
  await beat("n1");
  const second = start();
  t.after(() => second.close());
  await until(() => second.ready(), "the leases are read");
  assert.equal(second.current().get("n1"), "unmanaged");
  await pass(2_500);
  assert.equal(second.current().get("n1"), "unmanaged");
  await pass(500);
  await until(() => second.current().get("n1") === "gone", "n1 is gone");
});

test("a standstill of the observer's own process makes nobody gone", async (t) => {
  const { membership, beat, jump, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");
  await jump(60_000);
  assert.equal(membership.current().get("n1"), "alive");
  await pass(3_000);
  await until(() => membership.current().get("n1") === "gone", "n1 is gone");
});

test("while the store cannot be reached the last judgement stands", async (t) => {
  const { store, membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");
  await store.close();
  await pass(10_000);
  assert.equal(membership.current().get("n1"), "alive");
});

test("a lease that is deleted by hand is no death: the node is heard for its time to live", async (t) => {
  const { store, membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1");
  await until(() => membership.current().get("n1") === "alive", "n1 is alive");
  await store.delete({ kind: "Lease", name: "n1" });
  await pass(1_000);
  assert.equal(membership.current().get("n1"), "alive");
  await pass(2_000);
  await until(() => !membership.current().has("n1"), "n1 is forgotten");
});

test("a node whose agent registers with Consul is judged by its slower Lease, and the mismatch is told until it ends", async (t) => {
  const { membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1", [], "consul");
  await beat("n2", ["n1"]);
  const isHeard = (node: string) => membership.current().get(node) === "alive";
  await until(() => isHeard("n1") && isHeard("n2"), "both are alive");
  assert.match(
    membership.trouble() ?? "",
    /^1 of 2 nodes register with Consul \(n1\), .*start the controllers with --membership consul:/,
  );
  await pass(3_000);
  await until(() => membership.current().get("n2") === "gone", "n2 is gone");
  assert.equal(membership.current().get("n1"), "alive", "it renews its Lease only every ten seconds");
  await pass(26_500);
  assert.equal(membership.current().get("n1"), "alive");
  await pass(500);
  await until(() => membership.current().get("n1") === "gone", "n1 is gone");
  assert.equal(membership.trouble(), undefined, "nobody who is heard registers elsewhere");
});

test("the mismatch ends when the agent is started anew without Consul, and the node is judged as the others again", async (t) => {
  const { membership, beat, pass } = await open(t);
  await until(() => membership.ready(), "the leases are read");
  await beat("n1", [], "consul");
  await until(() => membership.trouble() !== undefined, "the mismatch is told");
  await beat("n1");
  await until(() => membership.trouble() === undefined, "it has ended");
  await pass(3_000);
  await until(() => membership.current().get("n1") === "gone", "n1 is gone");
});
