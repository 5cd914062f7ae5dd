import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { flowTally, sequenceSet } from "./flow-tally.ts";

type Fate = "answered" | "outbound" | "inbound";

/** Sends one packet a millisecond; each has its fate. Returns the tally and what the server counted. */
function play(fates: readonly Fate[]) {
  const tally = flowTally();
  let received = 0;
  for (const [now, fate] of fates.entries()) {
    const sequence = tally.send(now);
    if (fate !== "outbound") received++;
    if (fate === "answered") tally.answer(sequence, received, now);
  }
  return { tally, received };
}

const fates = fc.array(fc.constantFrom<Fate[]>("answered", "outbound", "inbound"), { maxLength: 200 });

test("Once the server has given its final count, each loss is known by its direction.", () => {
  fc.assert(
    fc.property(fates, (list) => {
      const { tally, received } = play(list);
      tally.settle(received);
      const of = (fate: Fate) => list.filter((f) => f === fate).length;
      assert.deepEqual(tally.counts(), {
        sent: list.length,
        answered: of("answered"),
        lostOutbound: of("outbound"),
        lostInbound: of("inbound"),
        unresolved: 0,
        duplicates: 0,
      });
    }),
  );
});

test("Each packet without an answer is listed by the time it was sent.", () => {
  fc.assert(
    fc.property(fates, (list) => {
      const lost = list.flatMap((fate, now) => (fate === "answered" ? [] : [now]));
      assert.deepEqual(play(list).tally.lostAt(), lost);
    }),
  );
});

test("Without it, what was sent after the last answer is unresolved, and the rest is known.", () => {
  fc.assert(
    fc.property(fates, (list) => {
      const counts = play(list).tally.counts();
      const known = list.slice(0, list.lastIndexOf("answered") + 1);
      assert.equal(counts.unresolved, list.length - known.length);
      assert.equal(counts.lostOutbound, known.filter((f) => f === "outbound").length);
      assert.equal(counts.lostInbound, known.filter((f) => f === "inbound").length);
    }),
  );
});

test("The longest gap is the longest time without an answer, at the beginning and the end too.", () => {
  const gapOf = (list: readonly Fate[]) => play(list).tally.longestGap();
  assert.equal(gapOf([]), undefined);
  assert.deepEqual(gapOf(["outbound", "outbound", "answered", "answered"]), { ms: 2, from: 0, to: 2 });
  assert.deepEqual(gapOf(["answered", "inbound", "answered", "answered"]), { ms: 2, from: 0, to: 2 });
  assert.deepEqual(gapOf(["answered", "answered", "outbound", "outbound"]), { ms: 2, from: 1, to: 3 });
});

test("An answer that comes twice is counted as a duplicate, not as an answer.", () => {
  const { tally } = play(["answered", "answered"]);
  tally.answer(1, 2, 5);
  assert.equal(tally.counts().answered, 2);
  assert.equal(tally.counts().duplicates, 1);
});

test("A sequence set holds what a plain set holds.", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 5000 })), (numbers) => {
      const ours = sequenceSet();
      const plain = new Set<number>();
      for (const n of numbers) {
        assert.equal(ours.add(n), !plain.has(n));
        plain.add(n);
        assert.equal(ours.size, plain.size);
      }
    }),
  );
});
