import { type Clock, SYSTEM_CLOCK } from "../clock.ts";

/** Waits, or returns early when the signal aborts. */
export function pause(ms: number, signal: AbortSignal, clock: Clock = SYSTEM_CLOCK): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal.addEventListener("abort", done);
  });
}
