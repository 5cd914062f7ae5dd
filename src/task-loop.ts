/** One task that runs again and again, never twice at once: after the delay that it asks for, or when it is kicked. */
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { NattoError } from "./errors.ts";

export interface TaskLoop {
  /** Runs the task as soon as it may: now, or right after the run that is under way. Many kicks may make one run. */
  kick(): void;
  /** Ends the loop; resolves when the run that is under way has ended. No run begins after this call. */
  stop(): Promise<void>;
}

/**
 * Runs `task` at once and then for ever. The task resolves to the milliseconds until its next run; it deals with its own
 * errors, so a rejection is a defect and ends the process. `minGapMs` is the least time between two runs, kicked or not.
 */
export function startTaskLoop(
  task: () => Promise<number>,
  minGapMs = 0,
  clock: Clock = SYSTEM_CLOCK,
): TaskLoop {
  let cancel = (): void => {};
  let running: Promise<void> | undefined;
  let kicked = false;
  let stopped = false;
  let lastEnd = Number.NEGATIVE_INFINITY;

  const schedule = (delayMs: number): void => {
    cancel();
    if (stopped) return;
    const gap = lastEnd + minGapMs - clock.elapsed();
    cancel = clock.after(Math.max(0, delayMs, gap), run);
  };
  const run = (): void => {
    kicked = false;
    running = task().then((delayMs) => {
      running = undefined;
      lastEnd = clock.elapsed();
      schedule(kicked ? 0 : delayMs);
    });
  };
  schedule(0);

  return {
    kick() {
      kicked = true;
      if (!running) schedule(0);
    },
    async stop() {
      stopped = true;
      cancel();
      await running;
    },
  };
}

/** Waits for the promise, but no longer than `limitMs`. */
export async function within(
  limitMs: number,
  promise: Promise<unknown>,
  clock: Clock = SYSTEM_CLOCK,
): Promise<void> {
  const { promise: limit, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(limitMs, resolve);
  await Promise.race([promise, limit]);
  cancel();
}

/** The promise's outcome, or `Unavailable` with this sentence when it takes longer than `limitMs`. */
export async function withDeadline<T>(
  limitMs: number,
  promise: Promise<T>,
  sentence: string,
  clock: Clock = SYSTEM_CLOCK,
): Promise<T> {
  const { promise: limit, reject } = Promise.withResolvers<never>();
  const cancel = clock.after(limitMs, () => {
    reject(new NattoError("Unavailable", `${sentence} within ${limitMs} ms; will be tried again`));
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    cancel();
  }
}
