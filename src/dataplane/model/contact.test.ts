import assert from "node:assert/strict";
import { test } from "node:test";
import { type Contact, CUT_OFF_MS, CUT_OFF_PROBES, NO_CONTACT, noteProbe } from "./contact.ts";
import { probeContent } from "./probe-arbitraries.ts";

const [A, B, C] = [1, 2, 3];
const GAP = CUT_OFF_MS;
const TICK = 40;

type Heard = readonly [peer: number, run: number, sequence: number, at: number];

const hear = (contact: Contact, ...probes: readonly Heard[]): Contact =>
  probes.reduce(
    (known, [peer, run, sequence, at]) => noteProbe(known, peer, probeContent(run, sequence), at),
    contact,
  );

/** All three probe for the first time. */
const ACQUAINTED = hear(NO_CONTACT, [A, 1, 10, 0], [B, 2, 500, 10], [C, 3, 2 ** 32 - 2, 20]);

test("a node that two peers tried in vain to reach, while it heard nobody, stands down", () => {
  const one = hear(ACQUAINTED, [A, 1, 60, GAP + TICK]);
  assert.equal(one.standsDown, false, "one witness may have been cut off itself");
  assert.equal(hear(one, [A, 1, 61, GAP + 2 * TICK]).standsDown, false, "nor does it count twice");
  assert.equal(hear(one, [C, 3, 48, GAP + TICK + 20]).standsDown, true, "the sequence may have begun anew");
  assert.equal(hear(one, [A, 1, 61, GAP + 2 * TICK], [B, 2, 550, GAP + 3 * TICK]).standsDown, true);
});

test("who was heard by others all the time goes on, whoever comes back", () => {
  const steady = Array.from({ length: 60 }, (_, i): Heard => [B, 2, 501 + i, (i + 1) * TICK]);
  const heard = hear(ACQUAINTED, ...steady);
  assert.equal(hear(heard, [A, 1, 70, 61 * TICK], [C, 3, 60, 61 * TICK]).standsDown, false);
});

test("peers that have just begun to probe, or were held up themselves, are no witnesses", () => {
  const anew = hear(ACQUAINTED, [A, 7, 0, GAP + TICK], [B, 8, 0, GAP + TICK], [C, 9, 0, GAP + TICK]);
  assert.equal(anew.standsDown, false);
  const few = CUT_OFF_PROBES - 1;
  const heldUp = hear(ACQUAINTED, [A, 1, 10 + few, 2 * GAP], [B, 2, 500 + few, 2 * GAP], [C, 3, 1, 2 * GAP]);
  assert.equal(heldUp.standsDown, false);
});

test("a first witness that another contradicts by having been silent itself is forgotten", () => {
  const contradicted = hear(ACQUAINTED, [A, 1, 60, GAP + TICK], [B, 9, 0, GAP + 2 * TICK]);
  assert.equal(hear(contradicted, [C, 3, 48, GAP + 3 * TICK]).standsDown, false);
});

test("a silence that is too short to move a slot is none", () => {
  const short = hear(ACQUAINTED, [A, 1, 55, GAP - TICK], [B, 2, 545, GAP - TICK], [C, 3, 43, GAP - TICK]);
  assert.equal(short.standsDown, false);
});
