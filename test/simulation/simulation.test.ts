/** The rules that never bend hold whatever happens to a cell; and the simulation would notice if they did not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { liveThroughMany } from "./crowd.ts";
import type { Incident } from "./faults.ts";
import { describeLife, incidentsOf, type Life, simulate } from "./simulate.ts";
import { MUTATIONS, type Mutation } from "./world.ts";

/** So long, and at least so many lives however busy the machine is; see docs/simulation.md for how many that makes. */
const BUDGET_MS = 90_000;
const LEAST_LIVES = 20;
/** As many as have been looked through so far: `make simulate` is for going further, at leisure. */
const MOST_LIVES = 2_000;

test("Crashes, cuts, losses, delays, frozen processes, jumping clocks and an operator at work break no rule.", async (t) => {
  const seed = process.env.NATTO_SEED;
  if (seed !== undefined) {
    const life = await simulate(Number(seed));
    assert.equal(life.violations.length, 0, describeLife(life));
    return;
  }
  const { lives, failure } = await liveThroughMany({
    ...{ from: 1, budgetMs: BUDGET_MS },
    ...{ least: LEAST_LIVES, most: MOST_LIVES },
  });
  assert.equal(failure, undefined, failure);
  assert(lives >= LEAST_LIVES);
  t.diagnostic(`${lives} lives`);
});

test("The same seed gives the same life, to the millisecond and to the last write.", async () => {
  for (const seed of [3, 24]) {
    const [first, second] = [await simulate(seed), await simulate(seed)];
    assert.deepEqual(second, first);
    assert(first.incidents.length > 0);
  }
});

/** In this life a node is drained and comes back, and while that is worked on a controller dies after so many of the calls that it makes. */
async function drainWithDeath(calls: number): Promise<{ readonly life: Life; readonly died: boolean }> {
  const drain: Incident = { at: 8_000, ms: 6_000, fault: { kind: "drain", node: 1 } };
  let count = 0;
  let died = false;
  const life = await simulate(1, {
    incidents: [drain],
    onControllerCall: ({ time }, controller) => {
      const sinceMs = [drain.at, drain.at + drain.ms].map((change) => time.now() - change);
      const isAtWork = sinceMs.some((ms) => ms > 0 && ms < WORK_MS);
      if (!isAtWork || ++count !== calls) return;
      died = true;
      controller.kill();
      time.process().clock.after(REST_MS, controller.start);
    },
  });
  return { life, died };
}

/** In so long the controllers have published what follows from a change, and it is applied. */
const WORK_MS = 1_000;
const REST_MS = 500;

test("A controller that dies after any of the calls of a drain and a return is made good by the others: no rule is broken, no flow lost.", async (t) => {
  let calls = 0;
  for (let died = true; died; ) {
    calls++;
    const attempt = await drainWithDeath(calls);
    died = attempt.died;
    assert.deepEqual(attempt.life.violations, [], `it died after call ${calls}`);
  }
  t.diagnostic(`${calls - 1} calls`);
  assert(calls > 10);
});

interface Weakness {
  /** The rules that may be broken then. */
  readonly rules: readonly Life["violations"][number]["rule"][];
  /** Lives in which nothing of this kind happens need not be tried. */
  readonly kind: Incident["fault"]["kind"];
  /** It lasts for longer than this, in milliseconds. */
  readonly leastMs: number;
}

/** A heartbeat is missed for longer than this before anybody is called gone. */
const SILENCE_MS = 4_000;

const WEAKNESSES: Readonly<Record<Mutation, Weakness>> = {
  "obey-mass-loss": { rules: ["mass loss"], kind: "unseen", leastMs: SILENCE_MS },
  "mute-witnesses": { rules: ["no theft", "mass loss"], kind: "store-cut", leastMs: SILENCE_MS },
  "hasty-moves": { rules: ["flows"], kind: "drain", leastMs: 0 },
};

/** The first seed whose life breaks a rule when something is weakened. */
async function findBroken(mutation: Mutation): Promise<Life | undefined> {
  const { kind, leastMs } = WEAKNESSES[mutation];
  for (let seed = 1; seed <= 2_000; seed++) {
    const may = ({ ms, fault }: Incident): boolean =>
      ms > leastMs && fault.kind === kind && (fault.kind !== "unseen" || fault.nodes.length > 2);
    if (!incidentsOf(seed).some(may)) continue;
    const life = await simulate(seed, { mutation });
    if (life.violations.length > 0) return life;
  }
  return undefined;
}

for (const mutation of MUTATIONS) {
  test(`A cell that is weakened (${mutation}) breaks a rule, and it is told which, by which seed and by what.`, async () => {
    const life = await findBroken(mutation);
    assert(life, "no seed shows it");
    for (const { rule } of life.violations) assert(WEAKNESSES[mutation].rules.includes(rule), rule);
    assert.match(
      describeLife(life),
      /^seed \d+: replay it with NATTO_SEED=\d+ make simulate\n {2}\d+ ms, for \d+ ms: /,
    );
    assert.equal((await simulate(life.seed)).violations.length, 0, "and only because it is weakened");
  });
}
