/** How long to wait before a retry: twice as long each time, up to a cap, with jitter so that a fleet does not march in step. */

export interface Backoff {
  readonly baseMs: number;
  readonly capMs: number;
}

/** Retries of calls to the store. */
export const STORE_BACKOFF: Backoff = { baseMs: 250, capMs: 5000 };
/** Retries of a dataplane that could not be made so. */
export const DATAPLANE_BACKOFF: Backoff = { baseMs: 250, capMs: 10_000 };

/**
 * Milliseconds to wait after `failures` failures in a row (at least 1). `random` is a number from 0 to 1: the wait lies
 * between half of the full one and all of it.
 */
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  const full = Math.min(backoff.capMs, backoff.baseMs * 2 ** (Math.max(1, failures) - 1));
  return full * (0.5 + random / 2);
}
