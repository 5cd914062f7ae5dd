/**
 * Membership by heartbeats in the store: each agent renews the Lease of its node, and whoever opens this membership listens. When the
 * store is away, the last judgement stands.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Cell } from "../model/cell.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { CONSUL_LEASE_SILENCE_MS } from "./consul-tuning.ts";
import { isSilent, judge, type Observation, type Observations, type TtlMsOf } from "./judgement.ts";
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

/** For how long the Lease of a node of this cell may be silent before the node is taken for silent, in milliseconds. */
export function leaseSilenceMs(
  cell: Cell | undefined,
  { membership }: Pick<Observation, "membership">,
): number {
  const ttlMs = (cell?.spec.membership.ttlSeconds ?? DEFAULT_TTL_SECONDS) * 1000;
  return membership === "consul" ? Math.max(ttlMs, CONSUL_LEASE_SILENCE_MS) : ttlMs;
}

/** Starts listening at once; see `Membership.ready` for when it has heard anything. */
export function openStoreMembership(store: Store, options: StoreMembershipOptions = {}): Membership {
  const { clock = SYSTEM_CLOCK, tickMs = 100 } = options;
  const leases = observeLeases(store, { clock, tickMs, silenceMs: leaseSilenceMs });
  const announcer = announceMembers();
  const tick = (): void => {
    const observations = leases.look();
    const now = clock.elapsed();
    const members = observations && judge(observations, leases.silenceMsOf, now);
    const mismatch = observations && mismatchText(observations, leases.silenceMsOf, now);
    announcer.tell(members, leases.trouble() ?? mismatch);
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

const MOST_NAMES = 10;

/** What is to be told when agents that are heard register where this membership does not look; undefined if none does. */
function mismatchText(observations: Observations, ttlMsOf: TtlMsOf, now: number): string | undefined {
  const elsewhere = [...observations]
    .filter(([, seen]) => seen.membership === "consul" && !isSilent(seen, ttlMsOf(seen), now))
    .map(([node]) => node)
    .sort();
  if (elsewhere.length === 0) return undefined;
  const names = elsewhere.slice(0, MOST_NAMES).join(", ") + (elsewhere.length > MOST_NAMES ? ", …" : "");
  return `${elsewhere.length} of ${observations.size} nodes register with Consul (${names}), but this controller listens to Leases only, so their loss is noticed after ${CONSUL_LEASE_SILENCE_MS / 1000} s at the earliest; start the controllers with --membership consul://HOST:8500, or all agents with --membership store:`;
}
