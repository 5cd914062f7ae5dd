/** Rollouts: that a change reaches few nodes first, goes on only when they do well, and ends on all nodes or on none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  apply,
  configure,
  declare,
  forget,
  given,
  live,
  pass,
  setNode,
  step,
  type Trial,
  trial,
  version,
} from "./fixtures.ts";
import { changedGateways, policyOf } from "./policy.ts";

const NAMES = ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"];

/** A cell that has settled, and in which version 2 of gateway g1 is declared. */
function changed(settings: Parameters<typeof trial>[1] = {}, names = NAMES): Trial {
  const cell = trial(names, settings);
  live(cell, 2);
  cell.planned = [version("g1", 2), version("g2", 1)];
  return cell;
}

function reached(cell: Trial): readonly string[] {
  const stage = cell.spec?.stage;
  return stage?.phase === "rolling" ? Object.keys(stage.released) : [];
}

function lastReason(cell: Trial): string | undefined {
  return cell.spec?.events.at(-1)?.reason;
}

/** UDP timeout of g1 in the policy that is good. */
function goodVersion(cell: Trial): number | undefined {
  return cell.spec?.good.gateways[0]?.behaviour.timeouts.udp;
}

test("a change reaches one node, then a quarter, then all, each after the ones before have done well for a while", () => {
  const cell = changed();
  step(cell);
  assert.deepEqual(reached(cell), ["n1"]);
  pass(cell, 1_000);
  assert.equal(step(cell).wakeMs, 29_000, "until the report is overdue");
  apply(cell);
  assert.equal(step(cell).wakeMs, 5_000, "until it is baked");
  pass(cell, 4_999);
  step(cell);
  assert.deepEqual(reached(cell), ["n1"]);
  pass(cell, 1);
  step(cell);
  assert.deepEqual(reached(cell), ["n1", "n2"]);
  live(cell, 7);
  assert.deepEqual(reached(cell), NAMES);
  live(cell, 7);
  assert.deepEqual([cell.spec?.stage.phase, lastReason(cell), goodVersion(cell)], ["settled", "Settled", 2]);
});

test("the first gateways of a cell go to all nodes at once, since nothing is in operation that they could break", () => {
  const cell = trial(NAMES);
  cell.planned = [];
  live(cell, 2);
  cell.planned = [version("g1", 1)];
  step(cell);
  assert.deepEqual([lastReason(cell), goodVersion(cell)], ["AtOnce", 1]);
});

for (const [what, fault] of [
  ["doubts its configuration", { complaints: ["ConfigDoubted is True"] }],
  ["is not ready any more", { ready: false, complaints: ["Ready is False"] }],
  ["falls silent", { alive: false }],
  ["drops more packets than before", { packets: 1000, drops: 100 }],
] as const) {
  test(`when a canary ${what}, all nodes go back, and the change is not tried again by itself`, () => {
    const cell = changed();
    live(cell, 2);
    setNode(cell, "n1", fault);
    step(cell);
    assert.equal(lastReason(cell), "Failed");
    assert.match(cell.spec?.verdict?.message ?? "", /^wave 1: n1: /);
    for (const name of NAMES) assert.equal(given(cell, name), cell.spec?.good.digest);
    assert.equal(goodVersion(cell), 1);
    live(cell, 100);
    assert.deepEqual([cell.spec?.number, reached(cell)], [1, []]);
  });
}

test("a canary that drops what it dropped before is not blamed", () => {
  const cell = changed();
  setNode(cell, "n1", { packets: 1000, drops: 300 });
  live(cell, 2);
  setNode(cell, "n1", { packets: 2000, drops: 610 });
  live(cell, 30);
  assert.equal(goodVersion(cell), 2);
});

test("a node that does not report in time stops the rollout; one whose agent was away before is not waited for", () => {
  const late = changed();
  step(late);
  pass(late, 30_000);
  step(late);
  assert.match(late.spec?.verdict?.message ?? "", /n1: has not reported within 30 s/);
  const away = changed();
  setNode(away, "n1", { alive: false });
  live(away, 60);
  assert.equal(goodVersion(away), 2);
  assert.equal(away.spec?.events.find((event) => event.reason === "Began")?.message.includes("n2"), true);
});

test("a canary that is drained is replaced by another before the rest follows", () => {
  const cell = changed();
  live(cell, 2);
  setNode(cell, "n1", { draining: true, ready: false });
  step(cell);
  assert.deepEqual(reached(cell), ["n1", "n2"]);
  live(cell, 60);
  assert.equal(goodVersion(cell), 2);
});

test("what was set aside stays so while other changes are rolled out, and is tried again when it is corrected", () => {
  const cell = changed();
  live(cell, 2);
  setNode(cell, "n1", { complaints: ["ConfigDoubted is True"] });
  step(cell);
  setNode(cell, "n1", { complaints: [] });
  cell.planned = [version("g1", 2), version("g2", 7)];
  live(cell, 60);
  assert.deepEqual(
    cell.spec?.good.gateways.map((g) => g.behaviour.timeouts.udp),
    [1, 7],
  );
  assert.equal(cell.spec?.rejected.length, 1);
  cell.planned = [version("g1", 3), version("g2", 7)];
  live(cell, 60);
  assert.deepEqual([goodVersion(cell), cell.spec?.rejected, cell.spec?.verdict], [3, [], undefined]);
});

test("pause keeps waves from going on, undo takes back what goes on or went on, retry tries it again", () => {
  const cell = changed({ paused: true });
  live(cell, 20);
  assert.equal(cell.spec?.number, 0);
  configure(cell, { paused: false });
  live(cell, 3);
  configure(cell, { paused: true });
  live(cell, 60);
  assert.deepEqual(reached(cell), ["n1"]);
  configure(cell, { paused: false, undo: 1 });
  live(cell, 60);
  assert.deepEqual([lastReason(cell), goodVersion(cell)], ["Undone", 1]);
  configure(cell, { retry: 1 });
  live(cell, 60);
  assert.deepEqual([cell.spec?.number, goodVersion(cell)], [2, 2]);
  configure(cell, { undo: 2 });
  live(cell, 60);
  assert.deepEqual([lastReason(cell), goodVersion(cell), cell.spec?.number], ["Undone", 1, 2]);
});

test("a change that is taken back in the middle ends at once, and later changes wait for the end of this one", () => {
  const cell = changed();
  live(cell, 2);
  cell.planned = [version("g1", 1), version("g2", 1)];
  step(cell);
  assert.deepEqual([lastReason(cell), goodVersion(cell)], ["Withdrawn", 1]);
  const busy = changed();
  live(busy, 2);
  busy.planned = [version("g1", 3), version("g2", 1)];
  live(busy, 3);
  assert.equal(busy.spec?.number, 1);
  live(busy, 60);
  assert.deepEqual([busy.spec?.number, goodVersion(busy)], [2, 3]);
});

test("a gateway that is no longer planned ends nothing and begins nothing", () => {
  const cell = changed();
  live(cell, 60);
  cell.planned = [version("g1", 2)];
  const before = cell.spec;
  live(cell, 3);
  assert.equal(cell.spec, before);
});

type Move = (cell: Trial) => void;
const anyName = fc.constantFrom(...NAMES);
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Move>((cell) => void step(cell)) },
  { weight: 4, arbitrary: fc.subarray(NAMES).map((names) => (cell: Trial) => apply(cell, names)) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 40_000 }).map((ms) => (cell: Trial) => pass(cell, ms)) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        anyName,
        fc.constantFrom<Parameters<typeof setNode>[2]>(
          { alive: true },
          { alive: false },
          { draining: true },
          { draining: false },
          { complaints: ["ConfigDoubted is True"] },
          { complaints: [] },
        ),
      )
      .map(
        ([name, change]) =>
          (cell: Trial) =>
            setNode(cell, name, change),
      ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom("g1", "g2", "g3"), fc.integer({ min: 1, max: 4 })).map(
      ([name, udp]) =>
        (cell: Trial) =>
          declare(cell, version(name, udp)),
    ),
  },
  { weight: 1, arbitrary: fc.constant(forget) },
  { weight: 1, arbitrary: fc.boolean().map((paused) => (cell: Trial) => configure(cell, { paused })) },
  {
    weight: 1,
    arbitrary: fc.constant<Move>((cell) => configure(cell, { undo: cell.spec?.number || undefined })),
  },
);
const moves = fc.array(move, { maxLength: 80 });

test("whatever happens: no more nodes than the waves allow differ from what is good, and none does what is set aside", () => {
  fc.assert(
    fc.property(moves, (history) => {
      const cell = trial(NAMES);
      for (const next of history) {
        const before = reached(cell);
        const [was, watched] = [cell.spec, cell.memory];
        next(cell);
        const { spec } = cell;
        if (!spec || spec === was) continue;
        const differing = NAMES.filter((n) => given(cell, n) !== spec.good.digest);
        const stage = spec.stage.phase === "rolling" ? spec.stage : undefined;
        if (stage && changedGateways(stage.target, spec.good).length > 0) {
          assert.deepEqual(new Set(differing), new Set(Object.keys(stage.released)));
        } else assert.deepEqual(differing, []);
        if (stage && spec.number !== was?.number) assert.equal(differing.length, 1, "canaries come first");
        if (stage && spec.number === was?.number && reached(cell).length > before.length) {
          for (const n of before) {
            const { alive, draining, complaints } = cell.nodes.get(n)!;
            const awaited = was.stage.phase === "rolling" && was.stage.released[n]?.alive && !draining;
            if (!awaited) continue;
            assert(alive && complaints.length === 0, `${n} does well`);
            const since = watched?.current.get(n) ?? cell.now;
            assert(cell.now - since >= 5_000, `${n} has done so for long enough`);
          }
        }
        for (const rejected of spec.rejected) {
          const versions = NAMES.map((n) => (stage?.released[n] ? stage.target : spec.good));
          for (const policy of versions)
            assert(!policy.gateways.some((g) => JSON.stringify(g) === JSON.stringify(rejected)));
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("whatever happened: once all nodes do well and nobody interferes, what is planned is on all nodes, but for what is set aside", () => {
  fc.assert(
    fc.property(moves, (history) => {
      const cell = trial(NAMES);
      for (const next of history) next(cell);
      configure(cell, { paused: false, undo: undefined });
      for (const n of NAMES) setNode(cell, n, { alive: true, draining: false, complaints: [] });
      live(cell, 200);
      const { spec } = cell;
      assert.equal(spec?.stage.phase, "settled");
      const missing = changedGateways(policyOf(cell.planned), spec.good);
      assert.deepEqual(
        missing.filter((g) => !spec.rejected.some((r) => JSON.stringify(r) === JSON.stringify(g))),
        [],
      );
    }),
    { numRuns: 300 },
  );
});
