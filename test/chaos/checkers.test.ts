/** The checkers of the chaos suite find what they are for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkHistory, type Operation, type Value } from "./declared-history.ts";
import { seededRandom } from "./random.ts";
import { drawSchedule, type Fault, isNodeFault } from "./schedule.ts";
import { checkHolders, checkLosses, type NodeOutage } from "./traffic-check.ts";

function write(value: Value, outcome: "acknowledged" | "refused" | "unknown" = "acknowledged"): Operation {
  return { type: "write", object: "a", value, outcome, at: 0 };
}

function read(value: Value): Operation {
  return { type: "read", object: "a", value, at: 1 };
}

test("A store that returns what it acknowledged keeps its word, and so does one whose unknown writes are done or not.", () => {
  assert.deepEqual(checkHistory([read(undefined), write(1), read(1), write(2, "refused"), read(1)]), []);
  for (const seen of [1, 2]) assert.deepEqual(checkHistory([write(1), write(2, "unknown"), read(seen)]), []);
  assert.deepEqual(checkHistory([write(1), write(undefined), read(undefined)]), []);
});

test("A lost write, one that comes back, one that was refused and yet done, are found.", () => {
  for (const history of [
    [write(1), read(undefined)],
    [write(1), write(2), read(1)],
    [write(1), write(2, "refused"), read(2)],
    [write(1), write(undefined), read(1)],
    [write(1), write(2, "unknown"), write(3), read(2)],
    [write(1), write(2, "unknown"), read(2), read(1)],
  ]) {
    assert.equal(checkHistory(history).length, 1, JSON.stringify(history));
  }
  assert.match(checkHistory([write(1), write(2), read(1)])[0] ?? "", /a is 1 at 1, .* acknowledged it is 2/);
});

test("Objects do not disturb each other's histories.", () => {
  const other: Operation = { type: "write", object: "b", value: 9, outcome: "acknowledged", at: 0 };
  assert.deepEqual(checkHistory([write(1), other, read(1)]), []);
});

const OUTAGE: NodeOutage = {
  node: "node1",
  from: 10_000,
  until: 20_000,
  holders: new Map([
    ["ep1", ["node3", "node1"]],
    ["ep2", ["node2"]],
  ]),
};
const ALLOWANCE = { crossing: 500, own: 3_000, returning: 100, inexactness: 10 };

function losses(endpoint: string, at: number): readonly string[] {
  return checkLosses([{ endpoint, flow: "UDP 1", lostAt: [at] }], [OUTAGE], ALLOWANCE);
}

test("A loss is allowed to those whose node went away, for as long as it may take, and to nobody else.", () => {
  assert.deepEqual(losses("ep1", 12_900), []);
  assert.deepEqual(losses("ep2", 10_400), []);
  assert.deepEqual(losses("ep2", 20_050), []);
  for (const [endpoint, at] of [
    ["ep1", 9_900],
    ["ep1", 13_100],
    ["ep2", 10_600],
    ["ep2", 12_900],
    ["ep1", 20_200],
  ] as const) {
    assert.equal(losses(endpoint, at).length, 1, `${endpoint} at ${at}`);
  }
  assert.equal(checkLosses([{ endpoint: "ep1", flow: "UDP 1", lostAt: [10_500] }], [], ALLOWANCE).length, 1);
});

test("An address:port that two flows hold at once is found; one that is held by one after the other is not.", () => {
  const held = (holder: string, from: number, to: number) => ({
    holder,
    outside: "192.0.2.1:2000",
    from,
    to,
  });
  assert.deepEqual(checkHolders([held("a", 0, 10), held("b", 11, 20), held("c", 25, 25)]), []);
  assert.equal(checkHolders([held("a", 0, 10), held("b", 5, 5)]).length, 1);
  // The middle one is short: the long one is still there when the third comes.
  assert.equal(checkHolders([held("a", 0, 100), held("b", 5, 6), held("c", 50, 60)]).length, 2);
  assert.deepEqual(checkHolders([held("a", 0, 10), { ...held("b", 5, 5), outside: "192.0.2.1:2001" }]), []);
});

test("A schedule keeps to its limits: one node at a time, nothing twice to the same victim at once, and an end.", () => {
  const targets = {
    processes: ["server", "etcd", "agent"].flatMap((process) => [
      { host: "node1", process },
      { host: "c1", process },
    ]),
    partitions: ["node1", "c1"],
    nodes: ["node1", "node2"],
  };
  const touches = (a: Fault, b: Fault) => a.at <= b.until && b.at <= a.until;
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const faults = drawSchedule(seededRandom(seed), targets, 60_000);
      assert.deepEqual(drawSchedule(seededRandom(seed), targets, 60_000), faults);
      for (const [i, fault] of faults.entries()) {
        assert(fault.until > fault.at && fault.until <= 60_000);
        for (const other of faults.slice(i + 1)) {
          assert(!(isNodeFault(fault) && isNodeFault(other) && touches(fault, other)));
          const same =
            "process" in fault && "process" in other
              ? fault.process === other.process
              : fault.kind === other.kind;
          assert(!(same && fault.host === other.host && touches(fault, other)));
        }
      }
      return faults.length > 0;
    }),
  );
});
