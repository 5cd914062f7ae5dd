import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  expireProbes,
  forgetProbes,
  MISSES_TO_DEATH,
  type PeerLiveness,
  PROBE_TIMEOUT_MS,
  probeAnswered,
  probeSent,
  UNPROBED,
} from "./peer-liveness.ts";

/** What becomes of each probe, sent every 250 ms: the delay of its answer in ms, or undefined when it is lost. */
type Fate = number | undefined;
const fates: fc.Arbitrary<Fate[]> = fc.array(
  fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 2000 })),
  { maxLength: 40 },
);
const INTERVAL = 250;

/** Plays the fates in order of time; at each moment answers are read before timeouts are judged. */
function play(script: readonly Fate[], until: number): PeerLiveness {
  const events = script.flatMap((fate, sequence) => {
    const at = sequence * INTERVAL;
    const sent = { at, rank: 1, apply: (p: PeerLiveness) => probeSent(p, sequence, at) };
    if (fate === undefined) return [sent];
    const arrival = at + fate;
    return [sent, { at: arrival, rank: 2, apply: (p: PeerLiveness) => probeAnswered(p, sequence, arrival) }];
  });
  for (let at = 0; at <= until; at += 50) {
    events.push({ at, rank: 3, apply: (p) => expireProbes(p, at) });
  }
  return events
    .filter((e) => e.at <= until)
    .sort((a, b) => a.at - b.at || a.rank - b.rank)
    .reduce((peer, event) => event.apply(peer), UNPROBED);
}

/** Simpler, from the definition: look back from the end for an answer in time before a row of misses. */
function aliveByDefinition(script: readonly Fate[]): boolean {
  const answered = (fate: Fate): boolean => fate !== undefined && fate <= PROBE_TIMEOUT_MS;
  const lastAnswer = script.findLastIndex(answered);
  return lastAnswer >= 0 && script.length - 1 - lastAnswer < MISSES_TO_DEATH;
}

test("a peer is alive exactly when one of its last four settled probes was answered in time", () => {
  fc.assert(
    fc.property(fates, (script) => {
      const settled = script.length * INTERVAL + PROBE_TIMEOUT_MS + 100;
      assert.equal(play(script, settled).alive, aliveByDefinition(script));
    }),
  );
});

test("nothing stays pending for longer than the timeout", () => {
  fc.assert(
    fc.property(fates, fc.integer({ min: 0, max: 12_000 }), (script, until) => {
      const now = Math.floor(until / 50) * 50;
      const { pending } = play(script, now);
      assert.ok(pending.every((p) => now - p.sentAt <= PROBE_TIMEOUT_MS));
    }),
  );
});

test("one answer makes a peer alive, and four misses in a row make it dead", () => {
  let peer = probeAnswered(probeSent(UNPROBED, 1, 0), 1, 5);
  assert.equal(peer.alive, true);
  for (let i = 0; i < 4; i++) peer = probeSent(peer, 2 + i, 250 * (1 + i));
  peer = expireProbes(peer, 250 * 3 + PROBE_TIMEOUT_MS + 1);
  assert.deepEqual([peer.alive, peer.misses], [true, 3]);
  peer = expireProbes(peer, 250 * 4 + PROBE_TIMEOUT_MS + 1);
  assert.deepEqual([peer.alive, peer.misses], [false, 4]);
});

test("an answer that is late, repeated or unasked for changes nothing", () => {
  const peer = probeSent(UNPROBED, 1, 0);
  assert.equal(probeAnswered(peer, 1, PROBE_TIMEOUT_MS + 1), peer);
  assert.equal(probeAnswered(peer, 2, 5), peer);
  const once = probeAnswered(peer, 1, 5);
  assert.equal(probeAnswered(once, 1, 6), once);
});

test("an observer that was stopped for long does not take its own silence for the peer's death", () => {
  let peer = probeAnswered(probeSent(UNPROBED, 1, 0), 1, 5);
  for (let i = 2; i < 6; i++) peer = probeSent(peer, i, i * 250);
  assert.equal(expireProbes(forgetProbes(peer), 60_000).alive, true);
});
