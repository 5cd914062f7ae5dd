/**
 * Simulates for longer than the tests do: `make simulate`. NATTO_SEED repeats one life and tells what happened in it; otherwise the seeds begin anywhere,
 * and NATTO_SECONDS (60) says for how long. Exits 1 when a rule was broken.
 */
import { liveThroughMany } from "./crowd.ts";
import { describeLife, simulate } from "./simulate.ts";

const seed = process.env.NATTO_SEED;
if (seed !== undefined) {
  const life = await simulate(Number(seed));
  console.log(describeLife(life));
  console.log(`ended at ${Math.round(life.endedAt)} ms, ${life.violations.length} violations`);
  process.exitCode = life.violations.length > 0 ? 1 : 0;
} else {
  const from = Math.floor(Math.random() * 2 ** 31);
  const budgetMs = 1000 * Number(process.env.NATTO_SECONDS ?? 60);
  const { lives, failure } = await liveThroughMany({
    from,
    budgetMs,
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
  });
  console.log(failure ?? `${lives} lives from seed ${from} on: no rule was broken`);
  process.exitCode = failure ? 1 : 0;
}
