import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { lease } from "./fixtures.ts";
import { excuse, judge, type Observation, observe } from "./judgement.ts";

const TTL = 3_000;
const ttlMsOf = (): number => TTL;

/** A node that was last seen to beat at the time; undefined: never. */
function beaten(beatAt: number | undefined, peersAlive: string[] = [], cell = "c1"): Observation {
  return { cell, renewals: 1, peersAlive, since: 0, beatAt };
}

test("a lease that was there before the observer is no heartbeat; one that appears is, and so is each change", () => {
  const old = observe(undefined, lease("n1", 7), 100, true);
  assert.equal(old.beatAt, undefined);
  assert.equal(observe(old, lease("n1", 7), 200, false).beatAt, undefined);
  assert.equal(observe(old, lease("n1", 8), 200, false).beatAt, 200);
  assert.equal(observe(undefined, lease("n2", 1), 100, false).beatAt, 100);
});

test("a lease that was deleted and begun anew beats, although its count is lower", () => {
  const before = observe(undefined, lease("n1", 50), 100, false);
  assert.equal(observe(before, lease("n1", 1), 900, false).beatAt, 900);
});

test("a node is alive until its lease has been silent for the time to live, then gone", () => {
  const observations = new Map([["n1", beaten(1_000)]]);
  assert.equal(judge(observations, ttlMsOf, 1_000 + TTL - 1).get("n1"), "alive");
  assert.equal(judge(observations, ttlMsOf, 1_000 + TTL).get("n1"), "gone");
});

test("nobody is gone before the observer has listened for a whole time to live", () => {
  const observations = new Map([["n1", beaten(undefined)]]);
  assert.equal(judge(observations, ttlMsOf, TTL - 1).get("n1"), "unmanaged");
  assert.equal(judge(observations, ttlMsOf, TTL).get("n1"), "gone");
});

test("a silent node that a living peer sees is unmanaged", () => {
  const observations = new Map([
    ["n1", beaten(0)],
    ["n2", beaten(5_000, ["n1"])],
  ]);
  assert.deepEqual(
    [...judge(observations, ttlMsOf, 5_000)],
    [
      ["n1", "unmanaged"],
      ["n2", "alive"],
    ],
  );
});

test("the word of a dead peer, or of another cell's node, does not count", () => {
  const observations = new Map([
    ["n1", beaten(0, ["n2"])],
    ["n2", beaten(0, ["n1"])],
    ["n3", beaten(5_000, ["n1", "n2"], "c2")],
  ]);
  assert.deepEqual([...judge(observations, ttlMsOf, 5_000).values()], ["gone", "gone", "alive"]);
});

test("each cell has its own time to live", () => {
  const observations = new Map([
    ["n1", beaten(0)],
    ["n2", beaten(0, [], "slow")],
  ]);
  const members = judge(observations, ({ cell }) => (cell === "slow" ? 60_000 : TTL), 10_000);
  assert.deepEqual([...members.values()], ["gone", "alive"]);
});

test("after an outage whoever lived before it is heard anew for a whole time to live, and the dead stay dead", () => {
  const observations = new Map([
    ["living", beaten(9_000)],
    ["dead", beaten(1_000)],
    ["unheard", { ...beaten(undefined), since: 9_000 }],
  ]);
  const after = excuse(observations, ttlMsOf, 10_000, 70_000);
  assert.deepEqual([...judge(after, ttlMsOf, 70_000 + TTL - 1).values()], ["alive", "gone", "unmanaged"]);
  assert.deepEqual([...judge(after, ttlMsOf, 70_000 + TTL).values()], ["gone", "gone", "gone"]);
});

test("nobody is gone who beat within the time to live, and nobody alive who did not", () => {
  const observation = fc.record({
    beatAt: fc.option(fc.integer({ min: 0, max: 10_000 }), { nil: undefined }),
    peersAlive: fc.subarray(["n0", "n1", "n2", "n3"]),
  });
  fc.assert(
    fc.property(fc.array(observation, { minLength: 1, maxLength: 4 }), (drawn) => {
      const observations = new Map(drawn.map((o, i) => [`n${i}`, beaten(o.beatAt, o.peersAlive)]));
      const members = judge(observations, ttlMsOf, 10_000);
      for (const [name, { beatAt }] of observations) {
        const recent = beatAt !== undefined && 10_000 - beatAt < TTL;
        assert.equal(members.get(name) === "alive", recent);
      }
    }),
  );
});
