/**
 * Follows the change log of a store that lives in this process. Each watcher reads the log at its own pace, so a slow one
 * costs no memory; it is told `Expired` if the log is trimmed before it gets there.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { NattoError } from "../errors.ts";
import { type Change, type ChangeBatch, checkKept } from "./key-value.ts";

const BATCH = 256;

/** The log of a driver; all of it is synchronous. */
export interface ChangeLog {
  /** The revision of the last write. */
  current(): number;
  /** The last revision that is not kept. */
  compacted(): number;
  /** The first `limit` changes under `prefix` after revision `from`. */
  read(prefix: string, from: number, limit: number): readonly Change[];
}

export interface ChangeFeed {
  /** To be called after each write. */
  announce(key: string, revision: number): void;
  follow(prefix: string, from: number, signal: AbortSignal): AsyncIterable<ChangeBatch>;
  /** Ends all watches with `Unavailable`. */
  close(): void;
}

type Wake = { readonly reason: "change"; readonly revision: number } | { readonly reason: "idle" | "end" };

interface Waiter {
  readonly prefix: string;
  readonly wake: (wake: Wake) => void;
}

/** `idleMs`: a watcher that has nothing to do is told this often how far it is complete. */
export function makeChangeFeed(log: ChangeLog, idleMs: number, clock: Clock = SYSTEM_CLOCK): ChangeFeed {
  const waiters = new Set<Waiter>();
  let closed = false;

  /** Resolves with the next change under the prefix, when `idleMs` have passed, or at the end of watch or store. */
  function next(prefix: string, signal: AbortSignal): Promise<Wake> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        prefix,
        wake: (wake) => {
          waiters.delete(waiter);
          cancel();
          signal.removeEventListener("abort", onAbort);
          resolve(wake);
        },
      };
      const onAbort = () => waiter.wake({ reason: "end" });
      const cancel = clock.after(idleMs, () => waiter.wake({ reason: "idle" }));
      signal.addEventListener("abort", onAbort);
      waiters.add(waiter);
    });
  }

  async function* follow(prefix: string, from: number, signal: AbortSignal): AsyncGenerator<ChangeBatch> {
    let position = from;
    let caughtUp = false;
    while (!signal.aborted) {
      if (closed) throw new NattoError("Unavailable", "the store was closed; open it again and watch on");
      checkKept(position, log.compacted(), log.current());
      const changes = log.read(prefix, position, BATCH);
      const last = changes.at(-1);
      position = last && changes.length === BATCH ? last.revision : log.current();
      if (last) {
        yield { changes, revision: position };
      } else if (!caughtUp) {
        caughtUp = true;
        yield { changes: [], revision: position };
      } else {
        const wake = await next(prefix, signal);
        // Whoever waits has missed nothing, however far the log has been trimmed meanwhile.
        if (wake.reason === "change") position = wake.revision - 1;
        if (wake.reason === "idle") {
          position = log.current();
          yield { changes: [], revision: position };
        }
      }
    }
  }

  return {
    announce: (key, revision) => {
      for (const waiter of waiters) {
        if (key.startsWith(waiter.prefix)) waiter.wake({ reason: "change", revision });
      }
    },
    follow,
    close: () => {
      closed = true;
      for (const waiter of waiters) waiter.wake({ reason: "end" });
    },
  };
}
