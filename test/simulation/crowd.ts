/** Many lives: seeds one after the other, on as many threads as the machine has processors. */
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";

/** What one thread does. */
export interface Share {
  readonly from: number;
  readonly step: number;
  /** Epoch ms: no further life begins after it, unless there were fewer than `least`. */
  readonly until: number;
  readonly least: number;
  readonly most: number;
}

export interface ShareReport {
  readonly lives: number;
  /** The first life that broke a rule, for people. */
  readonly failure: string | undefined;
}

export interface CrowdOptions {
  readonly from: number;
  readonly budgetMs: number;
  /** So many lives at least and at most, in all. */
  readonly least: number;
  readonly most: number;
}

/** Lives through seeds from `from` on, until the time is over. */
export async function liveThroughMany({ from, budgetMs, least, most }: CrowdOptions): Promise<ShareReport> {
  const threads = availableParallelism();
  const until = Date.now() + budgetMs;
  const reports = await Promise.all(
    Array.from({ length: threads }, async (_, i) => {
      const each = (count: number): number => Math.ceil(count / threads);
      const share: Share = { from: from + i, step: threads, until, least: each(least), most: each(most) };
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: share });
      const [report] = (await once(worker, "message")) as [ShareReport];
      return report;
    }),
  );
  return {
    lives: reports.reduce((sum, { lives }) => sum + lives, 0),
    failure: reports.find(({ failure }) => failure !== undefined)?.failure,
  };
}
