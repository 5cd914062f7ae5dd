import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { recordLogs } from "./fixtures.ts";
import { heartbeatIntervalMs, nextLease, startHeartbeat } from "./heartbeat.ts";

const FACTS = { node: "a", cell: "c1", peersAlive: ["c", "b"] };

test("there are at least three heartbeats in the time to live, and at least one a second", () => {
  assert.equal(heartbeatIntervalMs(3), 1000);
  assert.equal(heartbeatIntervalMs(1), 1000 / 3);
  assert.equal(heartbeatIntervalMs(300), 1000);
});

test("the first lease is number 1, and each one after it counts on from what is stored", () => {
  const first = nextLease(undefined, FACTS, 0);
  assert.deepEqual(first.spec, {
    cell: "c1",
    renewals: 1,
    renewedAt: "1970-01-01T00:00:00.000Z",
    peersAlive: ["b", "c"],
  });
  const stored = { ...first, metadata: { ...first.metadata, resourceVersion: "7" } };
  const second = nextLease(stored, FACTS, 0);
  assert.equal(second.spec.renewals, 2);
  assert.equal(second.metadata.resourceVersion, "7");
});

test("the lease says where else the agent registers, if it does", () => {
  assert.equal(nextLease(undefined, { ...FACTS, membership: "consul" }, 0).spec.membership, "consul");
  assert.ok(!("membership" in nextLease(undefined, FACTS, 0).spec));
});

test("the lease is renewed again and again, with the peers of the moment, and its number never goes back", async () => {
  const store = openMemoryStore();
  let peersAlive: string[] = [];
  const start = () =>
    startHeartbeat({
      store,
      logger: recordLogs().logger,
      facts: () => ({ ...FACTS, peersAlive }),
      intervalMs: () => 1000,
      onOutcome: (thrown) => assert.equal(thrown, undefined),
    });
  const lease = async () => (await store.get({ kind: "Lease", name: "a" }))?.spec;
  const heartbeat = start();
  await until(async () => (await lease()) !== undefined, "there is a lease");
  peersAlive = ["b"];
  heartbeat.kick();
  await until(async () => (await lease())?.peersAlive.join() === "b", "the change is told");
  await heartbeat.stop(1000);
  const before = (await lease())?.renewals ?? 0;
  const next = start();
  await until(async () => ((await lease())?.renewals ?? 0) > before, "the next agent counts on");
  await next.stop(1000);
});

test("a lease that another agent writes or that was deleted is read again", async () => {
  const store = openMemoryStore();
  const { logger, texts } = recordLogs();
  const heartbeat = startHeartbeat({
    store,
    logger,
    facts: () => FACTS,
    intervalMs: () => 333,
    onOutcome: () => {},
  });
  const lease = () => store.get({ kind: "Lease", name: "a" });
  try {
    await until(async () => (await lease()) !== undefined, "there is a lease");
    const stored = await lease();
    assert.ok(stored);
    const metadata = { ...stored.metadata, resourceVersion: "" };
    await store.update<"Lease">({ ...stored, metadata, spec: { ...stored.spec, renewals: 500 } });
    await until(async () => ((await lease())?.spec.renewals ?? 0) > 500, "it counts on from the other's");
    assert.ok(texts().some((text) => text.includes("does another agent run under this name?")));
    await store.delete({ kind: "Lease", name: "a" });
    await until(async () => (await lease()) !== undefined, "there is a lease again");
  } finally {
    await heartbeat.stop(1000);
  }
});
