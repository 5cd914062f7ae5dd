/**
 * Listening to the Leases in the store: what is known of each node's heartbeat and of the peers that it sees. What cannot be heard, because
 * the store is away or this process stood still, is never taken for silence.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Cell } from "../model/cell.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { excuse, isSilent, type Observation, type Observations, observe, type TtlMsOf } from "./judgement.ts";

export interface LeaseObserverOptions {
  readonly clock?: Clock;
  /** How often `look` is called, in milliseconds. */
  readonly tickMs: number;
  /** For how long the heartbeat of a node of this cell may be silent, in milliseconds. */
  readonly silenceMs: (cell: Cell | undefined, node: Pick<Observation, "membership">) => number;
}

export interface LeaseObserver {
  /** What is known by now; undefined while nothing can be heard. */
  look(): Observations | undefined;
  readonly silenceMsOf: TtlMsOf;
  /** Why the store cannot be heard; undefined while it can. */
  trouble(): string | undefined;
  close(): Promise<void>;
}

/** A look that comes so much too late means that this process stood still and could hear nobody. */
const STANDSTILL_MS = 1_000;

export function observeLeases(store: Store, options: LeaseObserverOptions): LeaseObserver {
  const { clock = SYSTEM_CLOCK, tickMs, silenceMs } = options;
  const now = clock.elapsed;
  const leases = openMirror(store, { kind: "Lease" }, { clock });
  const cells = openMirror(store, { kind: "Cell" }, { clock });
  let observations = new Map<string, Observation>();
  let lastLook = now();
  let started = false;
  let blind = false;

  const silenceMsOf: TtlMsOf = (node) => silenceMs(cells.get(node.cell), node);

  leases.onChange((change) => {
    if (change.type === "STATE" || change.type === "DELETED") return;
    const node = change.object.metadata.name;
    observations.set(node, observe(observations.get(node), change.object, now(), !started));
  });

  return {
    look: () => {
      const time = now();
      const listening = leases.synced() && cells.synced() && leases.staleSince() === undefined;
      blind ||= !listening || time - lastLook > tickMs + STANDSTILL_MS;
      if (!listening) return undefined;
      if (blind && started) observations = excuse(observations, silenceMsOf, lastLook, time);
      blind = false;
      started = true;
      lastLook = time;
      forgetDeleted(observations, (node) => leases.get(node) !== undefined, silenceMsOf, time);
      return observations;
    },
    silenceMsOf,
    trouble: () => leases.lastError()?.message,
    close: async () => {
      await Promise.all([leases.close(), cells.close()]);
    },
  };
}

/** Forgets nodes whose Lease was deleted, but not before they have been silent: an agent that lives writes it again. */
function forgetDeleted(
  observations: Map<string, Observation>,
  exists: (node: string) => boolean,
  silenceMsOf: TtlMsOf,
  now: number,
): void {
  for (const [node, observation] of observations) {
    if (!exists(node) && isSilent(observation, silenceMsOf(observation), now)) observations.delete(node);
  }
}
