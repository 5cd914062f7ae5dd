import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Occurrence } from "../events/occurrence.ts";
import { isWitness, makeNodeEvents } from "./node-events.ts";
import type { Drift } from "./reconciler.ts";

const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}$/), { minLength: 2, maxLength: 20 });

test("Of every loss two nodes tell, or all that are left.", () => {
  fc.assert(
    fc.property(names, ([lost = "", ...alive]) => {
      const seenBy = (node: string) => alive.filter((name) => name !== node);
      const witnesses = alive.filter((node) => isWitness(node, lost, seenBy(node)));
      assert.equal(witnesses.length, Math.min(2, alive.length));
    }),
  );
});

function openEvents(node: string) {
  const told: Occurrence[] = [];
  const events = makeNodeEvents(node, { record: (...more) => void told.push(...more) });
  const reasons = () => told.map(({ regarding, reason }) => `${regarding.name} ${reason}`);
  return { events, reasons };
}

test("A peer that falls silent and answers again is told of; one that answers from the beginning is not.", () => {
  const { events, reasons } = openEvents("b");
  events.peer("a", "alive", ["a", "c"]);
  events.peer("a", "dead", ["c"]);
  events.peer("a", "alive", ["a", "c"]);
  assert.deepEqual(reasons(), ["a PeerSilent", "a PeerAnswers"]);
});

test("Each repair is told once, however often the node reports.", () => {
  const { events, reasons } = openEvents("b");
  const drift: Drift = { at: 1, repairs: [{ what: "guard", detail: "removed" }], total: 1 };
  events.drift(undefined);
  for (const seen of [drift, drift, { ...drift, at: 2, total: 2 }]) events.drift(seen);
  assert.deepEqual(reasons(), ["b Repaired", "b Repaired"]);
});
