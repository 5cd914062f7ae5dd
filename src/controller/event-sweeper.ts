/** Removes Events that are old or too many, while this process leads. */

import type { Clock } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import { expiredEvents } from "../events/retention.ts";
import { keyOf, type Store } from "../store/store.ts";
import { startTaskLoop, type TaskLoop } from "../task-loop.ts";

const SWEEP_MS = 60_000;
/** So many are removed at once; the rest the next time. */
const PER_SWEEP = 500;

export interface SweeperOptions {
  /** The store, while it is this process's business. */
  readonly store: () => Store | undefined;
  readonly logger: { debug(message: string): void };
  readonly clock: Clock;
}

export function startEventSweeper({ store, logger, clock }: SweeperOptions): TaskLoop {
  const sweep = async (): Promise<number> => {
    try {
      const open = store();
      if (open) await removeExpired(open, clock.now());
    } catch (thrown) {
      // Nothing depends on it, and the next sweep does what this one did not.
      logger.debug(`events are not swept: ${asNattoError(thrown).message}`);
    }
    return SWEEP_MS;
  };
  return startTaskLoop(sweep, 0, clock);
}

async function removeExpired(store: Store, now: number): Promise<void> {
  const { items } = await store.list({ kind: "Event" });
  for (const event of expiredEvents(items, now).slice(0, PER_SWEEP)) {
    try {
      await store.delete(keyOf(event), event.metadata.resourceVersion);
    } catch (thrown) {
      // It happened once more, or somebody else has removed it.
      const { code } = asNattoError(thrown);
      if (code !== "Conflict" && code !== "NotFound") throw thrown;
    }
  }
}
