/** One of several threads that live through schedules: every n-th seed, until one breaks a rule or it is enough. */
import { parentPort, workerData } from "node:worker_threads";
import type { Share, ShareReport } from "./crowd.ts";
import { describeLife, shrink, simulate } from "./simulate.ts";

const { from, step, until, least, most } = workerData as Share;
let lives = 0;
let failure: string | undefined;
for (let seed = from; lives < most && (lives < least || Date.now() < until) && !failure; seed += step) {
  const life = await simulate(seed);
  lives++;
  if (life.violations.length > 0) failure = describeLife(await shrink(life, undefined));
}
parentPort?.postMessage({ lives, failure } satisfies ShareReport);
