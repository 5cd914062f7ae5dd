import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  LOSSY_SILENCE,
  noteAnswer,
  type PeerLiveness,
  SILENCE,
  tick,
  UNPROBED,
  type View,
} from "./peer-liveness.ts";

/** Plays ticks, each with or without an answer before it; returns the views after each. */
function play(script: readonly boolean[], from: PeerLiveness = UNPROBED) {
  let peer = from;
  const views = script.map((answered): View => {
    peer = tick(answered ? noteAnswer(peer) : peer);
    return peer.view;
  });
  return { peer, views };
}

const times = (n: number, answered: boolean): boolean[] => new Array<boolean>(n).fill(answered);

/** A peer that has answered for a while. */
const WELL = play(times(40, true)).peer;

/** How often the view changes between alive and dead. */
function flaps(views: readonly View[]): number {
  return views.filter((view, i) => i > 0 && view !== views[i - 1]).length;
}

/** Answers that get lost at random with this probability, by a seed. */
function lossyScript(ticks: number, loss: number, seed: number): boolean[] {
  let state = seed >>> 0;
  return Array.from({ length: ticks }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 >= loss;
  });
}

test("one answer makes a peer alive that nothing was known of; silence makes it dead only after a long time", () => {
  assert.deepEqual(play([true]).views, ["alive"]);
  const { views } = play(times(LOSSY_SILENCE, false));
  assert.deepEqual([...new Set(views.slice(0, -1))], ["unknown"]);
  assert.equal(views.at(-1), "dead");
});

test("a silence out of a clean link is believed after six ticks, and not before", () => {
  const { views } = play(times(SILENCE, false), WELL);
  assert.deepEqual([...new Set(views.slice(0, -1))], ["alive"]);
  assert.equal(views.at(-1), "dead");
});

test("on a link that has lost packets it takes longer, but it is believed", () => {
  const bad = play([...times(20, true), false, true, false, true], WELL).peer;
  const { views } = play(times(LOSSY_SILENCE, false), bad);
  assert.equal(views.indexOf("dead"), LOSSY_SILENCE - 1);
});

test("a link that loses 30 % of the packets in each direction does not flap", () => {
  for (let seed = 1; seed <= 20; seed++) {
    // An hour of ticks. The first misses show what the link is like; only then may half of the answers be missing.
    const begun = play([false, true, false, true], WELL).peer;
    const { views } = play(lossyScript(90_000, 1 - 0.7 ** 2, seed), begun);
    assert.ok(flaps(views) <= 2, `${flaps(views)} changes with seed ${seed}`);
  }
});

test("a peer that was dead must answer for a while; one that comes and goes stays dead for longer and longer", () => {
  const dead = play(times(60, false), WELL).peer;
  const back = play(times(30, true), dead).views.indexOf("alive");
  assert.ok(back >= 9 && back < 20, `alive after ${back + 1} answers`);

  const comesAndGoes = Array.from({ length: 100 }, () => [...times(30, false), ...times(30, true)]).flat();
  assert.ok(flaps(play(comesAndGoes, WELL).views) <= 30, "of the 200 changes that there were");
});

test("whoever answers steadily is alive in the end, and whoever is silent is dead, whatever was before", () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 200 }), fc.boolean(), (before, answers) => {
      const { peer } = play([...before, ...times(1000, answers)]);
      assert.equal(peer.view, answers ? "alive" : "dead");
    }),
  );
});

test("answers beyond the first between two ticks change nothing", () => {
  const once = noteAnswer(WELL);
  assert.equal(noteAnswer(once), once);
});
