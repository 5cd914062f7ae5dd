/**
 * Virtual time: a queue of timers and no other clock. Everything that waits waits here, so a run is decided by its seed alone, and minutes pass
 * in milliseconds. A process is whatever lives and dies together: its timers fire only while it lives, and late when it stood still.
 */
import type { Clock } from "../../src/clock.ts";

export interface SimProcess {
  readonly clock: Clock;
  /** Ends it at once, in the middle of whatever it does: nothing that it waits for ever comes. */
  kill(): void;
  /** Lets it stand still for so long; then what it has missed comes all at once, in order. */
  freeze(ms: number): void;
  /** Its wall clock jumps. */
  jump(ms: number): void;
  running(): boolean;
}

export interface VirtualTime {
  /** Milliseconds since the beginning. */
  now(): number;
  process(): SimProcess;
  /** Lets time pass until the moment, or until `stop` says so. It is called after each event, when nobody has anything left to do. */
  run(until: number, stop?: () => boolean): Promise<void>;
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly fire: () => void;
}

/** The wall clock at the beginning: any will do. */
const EPOCH_MS = Date.UTC(2026, 0, 1);
/** As with real timers, nothing comes sooner. */
const LEAST_MS = 1;

export function virtualTime(): VirtualTime {
  const queue = makeQueue();
  let time = 0;
  let order = 0;

  const schedule = (at: number, fire: () => void): void => queue.push({ at, order: order++, fire });

  function process(): SimProcess {
    const bornAt = time;
    let alive = true;
    let frozenUntil = 0;
    let jumped = 0;
    const guarded = (fire: () => void, cancelled: () => boolean): void => {
      if (!alive || cancelled()) return;
      if (time < frozenUntil) schedule(frozenUntil, () => guarded(fire, cancelled));
      else fire();
    };
    return {
      clock: {
        now: () => EPOCH_MS + time + jumped,
        elapsed: () => time - bornAt,
        after: (ms, callback) => {
          let cancelled = false;
          schedule(time + Math.max(LEAST_MS, ms), () => guarded(callback, () => cancelled));
          return () => {
            cancelled = true;
          };
        },
      },
      kill: () => {
        alive = false;
      },
      freeze: (ms) => {
        frozenUntil = Math.max(frozenUntil, time + ms);
      },
      jump: (ms) => {
        jumped += ms;
      },
      running: () => alive && time >= frozenUntil,
    };
  }

  return {
    now: () => time,
    process,
    async run(until, stop = () => false) {
      await settled();
      for (let next = queue.peek(); next && next.at <= until; next = queue.peek()) {
        queue.pop();
        time = next.at;
        next.fire();
        await settled();
        if (stop()) return;
      }
      time = Math.max(time, until);
    },
  };
}

/** Resolves when all promises that could go on have gone on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A heap: the earliest timer first, of equal ones the one that was set first. */
function makeQueue() {
  const heap: Timer[] = [];
  const before = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);
  const swap = (i: number, j: number): void => {
    [heap[i], heap[j]] = [heap[j]!, heap[i]!];
  };
  return {
    peek: (): Timer | undefined => heap[0],
    push: (timer: Timer): void => {
      heap.push(timer);
      for (let i = heap.length - 1; i > 0; ) {
        const parent = (i - 1) >> 1;
        if (!before(heap[i]!, heap[parent]!)) break;
        swap(i, parent);
        i = parent;
      }
    },
    pop: (): void => {
      const last = heap.pop();
      if (!last || heap.length === 0) return;
      heap[0] = last;
      for (let i = 0; ; ) {
        let least = i;
        for (const child of [2 * i + 1, 2 * i + 2]) {
          if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
        }
        if (least === i) break;
        swap(i, least);
        i = least;
      }
    },
  };
}
