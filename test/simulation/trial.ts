import { describeLife, shrink, simulate } from "./simulate.ts";

const [from = 1, count = 20] = process.argv.slice(2).map(Number);
const mutation = process.argv[4] as undefined;
const start = performance.now();
let bad = 0;
for (let seed = from; seed < from + count; seed++) {
  const life = await simulate(seed, mutation ? { mutation } : {});
  if (life.violations.length > 0) {
    bad++;
    if (bad < 6) console.log(describeLife(await shrink(life, mutation)));
  }
}
console.log(count, "lives", bad, "bad", Math.round((performance.now() - start) / count), "ms each");
