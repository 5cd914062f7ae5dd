/**
 * Writes down what happens, on the side: whoever tells of something goes on at once, and a store that is away, slow or refuses changes
 * nothing for them. Repeats are counted together; what is too much is left out, and how much that was is said.
 */
import { backoffMs, STORE_BACKOFF } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import { keyText, type Store } from "../store/store.ts";
import { startTaskLoop, withDeadline, within } from "../task-loop.ts";
import { eventKey, eventOf, type Occurrence, type Repeated, together } from "./occurrence.ts";

/** Between two rounds of writing. */
const MIN_GAP_MS = 1000;
/** So many Events are written in a round: with the gap, that many a second. */
const PER_ROUND = 10;
/** So many different ones wait at most. */
const MAX_WAITING = 200;
/** How often the write of an Event that others change at the same time is tried. */
const MAX_OVERTAKEN = 5;
const CALL_MS = 5000;
const IDLE_MS = 60 * 60 * 1000;

interface Log {
  (message: string): void;
  (facts: object, message: string): void;
}

export interface RecorderOptions {
  readonly store: Store;
  /** The name under which Events are written: a node's, or `CONTROL_REPORTER`. */
  readonly reporter: string;
  readonly logger: { readonly warn: Log };
  readonly clock?: Clock | undefined;
  /** A number from 0 to 1, for the jitter of retries. */
  readonly random?: (() => number) | undefined;
}

export interface EventRecorder {
  /** Never throws, never waits. */
  record(...occurrences: readonly Occurrence[]): void;
  /** Writes what is left, if that takes no longer than `limitMs`, and ends. */
  stop(limitMs: number): Promise<void>;
}

/** For those whom nobody listens to. */
export const NO_RECORDER: Pick<EventRecorder, "record"> = { record: () => {} };

export function startEventRecorder(options: RecorderOptions): EventRecorder {
  const { store, reporter, logger, clock = SYSTEM_CLOCK, random = Math.random } = options;
  const waiting = new Map<string, Repeated>();
  let leftOut = 0;
  let failures = 0;
  let lastProblem = "";

  const wait = (repeated: Repeated): void => {
    const key = keyText(eventKey(repeated.occurrence, reporter));
    if (!waiting.has(key) && waiting.size >= MAX_WAITING) leftOut += repeated.count;
    else waiting.set(key, together(waiting.get(key), repeated));
  };
  const tellLeftOut = (): void => {
    if (leftOut === 0) return;
    logger.warn({ count: leftOut }, `${leftOut} events were not written down: too many happened at once`);
    leftOut = 0;
  };
  const refuse = (problem: string): void => {
    if (problem !== lastProblem) logger.warn(`an event cannot be written down: ${problem}`);
    lastProblem = problem;
  };
  /** Writes the ones that have waited longest; throws when the store is away, and then they wait on. */
  const writeSome = async (): Promise<void> => {
    for (const [key, repeated] of [...waiting].slice(0, PER_ROUND)) {
      waiting.delete(key);
      try {
        await withDeadline(CALL_MS, writeOne(store, reporter, repeated), "the store took no event", clock);
        lastProblem = "";
      } catch (thrown) {
        const error = asNattoError(thrown);
        if (!error.transient) refuse(error.message);
        else {
          // What has been told of meanwhile is the later one.
          const later = waiting.get(key);
          waiting.set(key, later ? together(repeated, later) : repeated);
          throw error;
        }
      }
    }
    tellLeftOut();
  };
  const run = async (): Promise<number> => {
    try {
      await writeSome();
      failures = 0;
      return waiting.size > 0 ? 0 : IDLE_MS;
    } catch {
      failures++;
      return backoffMs(STORE_BACKOFF, failures, random());
    }
  };
  const loop = startTaskLoop(run, MIN_GAP_MS, clock);

  return {
    record(...occurrences) {
      if (occurrences.length === 0) return;
      const now = clock.now();
      for (const occurrence of occurrences) wait({ occurrence, count: 1, first: now, last: now });
      // While the store is away its next try comes when it is due.
      if (failures === 0) loop.kick();
    },
    async stop(limitMs) {
      const rest = loop.stop().then(() => writeSome().catch(() => {}));
      await within(limitMs, rest, clock);
    },
  };
}

/** Counts it in its Event. A write whose outcome is unknown is repeated, so a count may be too high by one. */
async function writeOne(store: Store, reporter: string, repeated: Repeated): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const stored = await store.get(eventKey(repeated.occurrence, reporter));
    const event = eventOf(repeated, reporter, stored);
    try {
      await (stored ? store.update<"Event">(event) : store.create<"Event">(event));
      return;
    } catch (thrown) {
      const { code } = asNattoError(thrown);
      const overtaken = code === "Conflict" || code === "AlreadyExists" || code === "NotFound";
      if (!overtaken || attempt >= MAX_OVERTAKEN) throw thrown;
    }
  }
}
