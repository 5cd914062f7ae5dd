/**
 * Membership by heartbeats in the store: each agent renews the Lease of its node, and whoever opens this membership listens. When the
 * store is away, the last judgement stands.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Cell } from "../model/cell.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { excuse, isSilent, judge, type Observation, observe, sameMembers } from "./judgement.ts";
import type { Members, Membership } from "./membership.ts";

export interface StoreMembershipOptions {
  readonly clock?: Clock;
  /** How often it is judged, in milliseconds. */
  readonly tickMs?: number;
}

/** Of a node whose cell is not known: the default of `Cell.spec.membership.ttlSeconds`. */
const DEFAULT_TTL_MS = 3_000;
/** A tick that comes so much too late means that this process stood still and could hear nobody. */
const STANDSTILL_MS = 1_000;

/** Starts listening at once; see `Membership.ready` for when it has heard anything. */
export function openStoreMembership(store: Store, options: StoreMembershipOptions = {}): Membership {
  const { clock = SYSTEM_CLOCK, tickMs = 100 } = options;
  const now = clock.elapsed;
  const leases = openMirror(store, { kind: "Lease" }, { clock });
  const cells = openMirror(store, { kind: "Cell" }, { clock });
  const listeners = new Set<() => void>();
  let observations = new Map<string, Observation>();
  let members: Members | undefined;
  let lastTick = now();
  let blind = false;

  const ttlMsOf = (name: string): number => ttlMs(cells.get(name));

  leases.onChange((change) => {
    if (change.type === "STATE" || change.type === "DELETED") return;
    const node = change.object.metadata.name;
    observations.set(node, observe(observations.get(node), change.object, now(), members === undefined));
  });

  const tick = (): void => {
    const time = now();
    const listening = leases.synced() && cells.synced() && leases.staleSince() === undefined;
    blind ||= !listening || time - lastTick > tickMs + STANDSTILL_MS;
    if (!listening) return;
    if (blind && members) observations = excuse(observations, ttlMsOf, lastTick, time);
    blind = false;
    lastTick = time;
    forgetDeleted(observations, (node) => leases.get(node) !== undefined, ttlMsOf, time);
    const judged = judge(observations, ttlMsOf, time);
    if (members && sameMembers(members, judged)) return;
    members = judged;
    for (const listener of [...listeners]) listener();
  };
  const loop = startTaskLoop(
    async () => {
      tick();
      return tickMs;
    },
    0,
    clock,
  );

  return {
    ready: () => members !== undefined,
    current: () => members ?? new Map(),
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: async () => {
      await loop.stop();
      listeners.clear();
      await Promise.all([leases.close(), cells.close()]);
    },
  };
}

function ttlMs(cell: Cell | undefined): number {
  return cell ? cell.spec.membership.ttlSeconds * 1000 : DEFAULT_TTL_MS;
}

/** Forgets nodes whose Lease was deleted, but not before they have been silent: an agent that lives writes it again. */
function forgetDeleted(
  observations: Map<string, Observation>,
  exists: (node: string) => boolean,
  ttlMsOf: (cell: string) => number,
  now: number,
): void {
  for (const [node, observation] of observations) {
    if (!exists(node) && isSilent(observation, ttlMsOf(observation.cell), now)) observations.delete(node);
  }
}
