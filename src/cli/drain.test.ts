import assert from "node:assert/strict";
import { test } from "node:test";
import { NOBODY, type Placement } from "../model/placement.ts";
import { node } from "../planner/fixtures.ts";
import { drainProgress, isDrained, readDuration } from "./drain.ts";

const NOW = Date.UTC(2026, 0, 1);
const UNTIL = new Date(NOW + 150_000).toISOString();

type Phase = "shared" | "clearing" | "settled";

function placement(owners: number[], phases: readonly Phase[] = []): Placement["spec"] {
  const moves = phases.map((phase, slot) => ({ slot, from: 0, phase, since: UNTIL, until: UNTIL }));
  const placed = { address: "203.0.113.1", owners, backups: owners.map(() => NOBODY), moves };
  return { cell: "c1", pool: "p1", portsPerSlot: 1024, nodes: ["n1", "n2"], addresses: [placed] };
}

const told = (spec: Placement["spec"], sessions?: number): [string, boolean] => {
  const plain = node("n1");
  const moving = sessions === undefined ? {} : { moving: { slots: 2, sessions } };
  const n1 = { ...plain, status: { ...plain.status!, ...moving } };
  return [drainProgress(n1, [spec], NOW), isDrained(n1, [spec])];
};

test("the progress of a drain tells what is left, and for how long at most", () => {
  assert.deepEqual(told(placement([0, 0, 1])), ["2 slots are still its own", false]);
  assert.deepEqual(told(placement([1, 1, 1], ["shared", "shared"]), 7), [
    "7 flows are left in 2 slots; at most 3 minutes to go",
    false,
  ]);
  assert.deepEqual(told(placement([1, 1, 1], ["clearing"])), ["1 slots are being let go", false]);
  assert.deepEqual(told(placement([1, 1, 1], ["settled"])), ["drained: nothing is left on it", true]);
});

test("a duration is a number with its unit, from a second to a week", () => {
  assert.deepEqual(["90s", "30m", "2h", "7d"].map(readDuration), [90, 1800, 7200, 604_800]);
  for (const text of ["", "90", "0s", "8d", "1.5h", "-1m"]) {
    assert.throws(() => readDuration(text), /is no duration from 1s to 7d/, text);
  }
});
