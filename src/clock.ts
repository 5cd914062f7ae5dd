/**
 * Time as a parameter. Every loop takes the clock that it lives by, so that a simulation can let years pass in a second, in an order that can
 * be repeated, and give each machine a clock of its own.
 */

export interface Clock {
  /** The wall clock: milliseconds since 1970. It may jump, and those of two machines may differ. */
  now(): number;
  /** Milliseconds of a clock that never goes back and never jumps. */
  elapsed(): number;
  /** Calls back once after so many milliseconds, unless the returned function is called before. */
  after(ms: number, callback: () => void): () => void;
}

/** The clocks and timers of this machine. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
