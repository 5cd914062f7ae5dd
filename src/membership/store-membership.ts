/**
 * Membership by heartbeats in the store: each agent renews the Lease of its node, and whoever opens this membership listens. When the
 * store is away, the last judgement stands.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { judge } from "./judgement.ts";
import { observeLeases } from "./lease-observer.ts";
import { announceMembers } from "./members-announcer.ts";
import type { Membership } from "./membership.ts";

export interface StoreMembershipOptions {
  readonly clock?: Clock;
  /** How often it is judged, in milliseconds. */
  readonly tickMs?: number;
}

/** Of a node whose cell is not known: the default of `Cell.spec.membership.ttlSeconds`. */
const DEFAULT_TTL_SECONDS = 3;

/** Starts listening at once; see `Membership.ready` for when it has heard anything. */
export function openStoreMembership(store: Store, options: StoreMembershipOptions = {}): Membership {
  const { clock = SYSTEM_CLOCK, tickMs = 100 } = options;
  const leases = observeLeases(store, {
    clock,
    tickMs,
    silenceMs: (cell) => (cell?.spec.membership.ttlSeconds ?? DEFAULT_TTL_SECONDS) * 1000,
  });
  const announcer = announceMembers();
  const tick = (): void => {
    const observations = leases.look();
    const members = observations && judge(observations, leases.silenceMsOf, clock.elapsed());
    announcer.tell(members, leases.trouble());
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
    ...announcer.membership,
    close: async () => {
      await loop.stop();
      announcer.silence();
      await leases.close();
    },
  };
}
