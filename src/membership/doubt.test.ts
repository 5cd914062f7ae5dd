import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type DoubtfulNode, type Judgement, LOSS_WINDOW_MS, type Presences, weighLosses } from "./doubt.ts";
import type { MemberState } from "./membership.ts";

const NAMES = ["n0", "n1", "n2", "n3", "n4", "n5"];
const ALL = new Set(NAMES);

interface Moment {
  readonly now: number;
  readonly gone?: readonly string[];
  readonly unmanaged?: readonly string[];
  readonly draining?: readonly string[];
  readonly confirmed?: readonly string[];
  readonly owners?: ReadonlySet<string>;
  readonly names?: readonly string[];
  readonly percent?: number;
}

function weigh(before: Presences, moment: Moment): Judgement {
  const {
    now,
    gone = [],
    unmanaged = [],
    draining = [],
    confirmed = [],
    owners = ALL,
    names = NAMES,
    percent = 50,
  } = moment;
  const nodes = names.map(
    (name): DoubtfulNode => ({
      name,
      cell: "c1",
      draining: draining.includes(name),
      confirmedLost: confirmed.includes(name),
      ownsSlots: owners.has(name),
    }),
  );
  const stateOf = (name: string): MemberState =>
    gone.includes(name) ? "gone" : unmanaged.includes(name) ? "unmanaged" : "alive";
  const members = new Map(names.map((name) => [name, stateOf(name)]));
  return weighLosses(before, { nodes, members, maxLossPercent: () => percent, now });
}

/** Lives through the moments and returns the last judgement. */
function live(...moments: readonly Moment[]): Judgement {
  let judgement = weigh(new Map(), { now: 0 });
  for (const moment of moments) judgement = weigh(judgement.presences, moment);
  return judgement;
}

test("the loss of one node is believed, in a cell of any size", () => {
  const { members, doubted } = live({ now: 1, gone: ["n0"] });
  assert.equal(members.get("n0"), "gone");
  assert.equal(doubted.size, 0);
  const two = weigh(weigh(new Map(), { now: 0, names: ["n0", "n1"] }).presences, {
    now: 1,
    names: ["n0", "n1"],
    gone: ["n0"],
    percent: 1,
  });
  assert.equal(two.members.get("n0"), "gone");
});

test("half of the nodes may be lost at once, more may not", () => {
  assert.equal(live({ now: 1, gone: ["n0", "n1", "n2"] }).doubted.size, 0);
  const { members, doubted } = live({ now: 1, gone: ["n0", "n1", "n2", "n3"] });
  assert.deepEqual(doubted.get("c1"), ["n0", "n1", "n2", "n3"]);
  assert.equal(members.get("n3"), "unmanaged");
  assert.equal(members.get("n4"), "alive");
});

test("losses add up within the window, and all of it are doubted together", () => {
  const slow = live({ now: 1, gone: ["n0", "n1"] }, { now: LOSS_WINDOW_MS, gone: ["n0", "n1", "n2", "n3"] });
  assert.deepEqual(slow.doubted.get("c1"), ["n0", "n1", "n2", "n3"]);
});

test("a loss that was believed for the whole window stays believed", () => {
  const later = live(
    { now: 1, gone: ["n0", "n1"] },
    { now: LOSS_WINDOW_MS + 1, gone: ["n0", "n1", "n2", "n3"] },
  );
  assert.equal(later.members.get("n0"), "gone");
  assert.equal(later.doubted.size, 0);
});

test("a doubted node is trusted again as soon as it is seen, and the others stay doubted until they are", () => {
  const lost = ["n0", "n1", "n2", "n3"];
  const back = live({ now: 1, gone: lost }, { now: 2, gone: ["n2", "n3"], unmanaged: ["n1"] });
  assert.deepEqual(back.doubted.get("c1"), ["n2", "n3"]);
  assert.equal(back.members.get("n0"), "alive");
  const all = weigh(back.presences, { now: 3 });
  assert.equal(all.doubted.size, 0);
});

test("doubt does not end by time, only by drain or deletion", () => {
  const lost = ["n0", "n1", "n2", "n3"];
  const later = live({ now: 1, gone: lost }, { now: 100 * LOSS_WINDOW_MS, gone: lost });
  assert.deepEqual(later.doubted.get("c1"), lost);
  const drained = weigh(later.presences, { now: 200 * LOSS_WINDOW_MS, gone: lost, draining: ["n0"] });
  assert.deepEqual(drained.doubted.get("c1"), ["n1", "n2", "n3"]);
  assert.equal(drained.members.get("n0"), "gone");
  const names = NAMES.filter((name) => name !== "n1");
  const deleted = weigh(drained.presences, {
    now: 300 * LOSS_WINDOW_MS,
    gone: lost,
    draining: ["n0"],
    names,
  });
  assert.deepEqual(deleted.doubted.get("c1"), ["n2", "n3"]);
});

test("the operator's word ends the doubt about the nodes it names, and means nothing for nodes that are seen", () => {
  const lost = ["n0", "n1", "n2", "n3"];
  const doubted = live({ now: 1, gone: lost });
  const told = weigh(doubted.presences, { now: 2, gone: lost, confirmed: ["n0", "n1", "n5"] });
  assert.equal(told.members.get("n0"), "gone");
  assert.equal(told.members.get("n5"), "alive");
  assert.deepEqual(told.doubted.get("c1"), ["n2", "n3"]);
  const back = weigh(told.presences, { now: 3, gone: ["n2", "n3"], confirmed: ["n0", "n1"] });
  assert.equal(back.members.get("n0"), "alive");
});

test("a controller that starts while most owners of slots are silent doubts it", () => {
  const first = weigh(new Map(), { now: 0, unmanaged: NAMES });
  const second = weigh(first.presences, { now: 3_000, gone: ["n0", "n1", "n2", "n3"] });
  assert.deepEqual(second.doubted.get("c1"), ["n0", "n1", "n2", "n3"]);
});

test("nodes that were dead before the controller started and own nothing are no news", () => {
  const owners = new Set(["n4", "n5"]);
  const first = weigh(new Map(), { now: 0, unmanaged: NAMES, owners });
  const second = weigh(first.presences, { now: 3_000, gone: ["n0", "n1", "n2", "n3"], owners });
  assert.equal(second.doubted.size, 0);
  assert.equal(second.members.get("n0"), "gone");
});

const moments = fc.array(
  fc.record({
    wait: fc.integer({ min: 0, max: LOSS_WINDOW_MS }),
    gone: fc.subarray(NAMES),
    draining: fc.subarray(NAMES, { maxLength: 1 }),
    percent: fc.constantFrom(1, 34, 50, 100),
  }),
  { minLength: 1, maxLength: 12 },
);

test("within any window no more than the allowed share of a cell is believed lost at one moment", () => {
  fc.assert(
    fc.property(moments, fc.constantFrom(1, 34, 50, 99), (drawn, percent) => {
      let now = 0;
      let before = weigh(new Map(), { now });
      for (const { wait, gone } of drawn) {
        now += wait;
        const after = weigh(before.presences, { now, gone, percent });
        const present = NAMES.filter((name) => before.members.get(name) !== "gone");
        const lost = present.filter((name) => after.members.get(name) === "gone");
        const base = NAMES.filter((name) => present.includes(name) || after.members.get(name) === "alive");
        assert(lost.length <= 1 || lost.length <= (base.length * percent) / 100);
        before = after;
      }
    }),
  );
});

test("who is reported alive is never touched, and who is doubted was reported gone", () => {
  fc.assert(
    fc.property(moments, (drawn) => {
      let now = 0;
      let presences: Presences = new Map();
      for (const { wait, gone, draining, percent } of drawn) {
        now += wait;
        const { members, doubted, presences: next } = weigh(presences, { now, gone, draining, percent });
        for (const name of NAMES) {
          const isDoubted = doubted.get("c1")?.includes(name) ?? false;
          const expected = !gone.includes(name) ? "alive" : isDoubted ? "unmanaged" : "gone";
          assert.equal(members.get(name), expected);
          if (isDoubted) assert(!draining.includes(name));
        }
        presences = next;
      }
    }),
  );
});
