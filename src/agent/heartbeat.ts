/**
 * The Lease of this node: a number that grows with every heartbeat, and the peers whose dataplane answers. It says that the agent
 * is alive and reaches the store; whether the dataplane is good is said by the node's condition `Ready`.
 */

import { backoffMs, STORE_BACKOFF } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import { type Lease, leaseSchema } from "../model/lease.ts";
import { API_VERSION } from "../model/meta.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop, withDeadline, within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";

const MAX_INTERVAL_MS = 1000;
/** A heartbeat that takes longer is given up: on another connection the next one may be faster. */
const CALL_MS = 2000;
/** Changes of the peers that come in a burst are told together. */
const MIN_GAP_MS = 100;

/** Milliseconds between two heartbeats: three in the cell's time to live, and at least one a second. */
export function heartbeatIntervalMs(ttlSeconds: number): number {
  return Math.min(MAX_INTERVAL_MS, (ttlSeconds * 1000) / 3);
}

export interface HeartbeatFacts {
  readonly node: string;
  readonly cell: string;
  readonly peersAlive: readonly string[];
  /** Where else the agent says that it lives; undefined: nowhere. */
  readonly membership?: Lease["spec"]["membership"];
}

/** The next Lease after the one that is stored. `now` is epoch ms. Pure. */
export function nextLease(stored: Lease | undefined, facts: HeartbeatFacts, now: number): Lease {
  return leaseSchema.parse({
    apiVersion: API_VERSION,
    kind: "Lease",
    metadata: { name: facts.node, resourceVersion: stored?.metadata.resourceVersion ?? "" },
    spec: {
      cell: facts.cell,
      renewals: (stored?.spec.renewals ?? 0) + 1,
      renewedAt: new Date(now).toISOString(),
      peersAlive: [...facts.peersAlive].sort(),
      ...(facts.membership ? { membership: facts.membership } : {}),
    },
  });
}

export interface HeartbeatOptions {
  readonly store: Store;
  readonly logger: AgentLogger;
  readonly facts: () => HeartbeatFacts;
  /** Milliseconds between two heartbeats. */
  readonly intervalMs: () => number;
  /** Told the outcome of each call: undefined, or what was thrown. */
  readonly onOutcome: (thrown: unknown) => void;
  readonly clock?: Clock | undefined;
  readonly random?: () => number;
}

export interface Heartbeat {
  /** Renews the lease at once, because the peers that are alive have changed. */
  kick(): void;
  /** Renews the lease a last time, if it takes no longer than `limitMs`, and ends. */
  stop(limitMs: number): Promise<void>;
}

export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { store, logger, facts, intervalMs, onOutcome, clock = SYSTEM_CLOCK, random = Math.random } = options;
  let stored: Lease | undefined;
  let failures = 0;
  // After a failure it is unknown whether the write took place, so what is stored is read again.
  let certain = false;
  let wasCertain = false;

  const renew = async (): Promise<void> => {
    const { node } = facts();
    wasCertain = certain;
    if (!certain) stored = await store.get({ kind: "Lease", name: node });
    certain = false;
    const lease = nextLease(stored, facts(), clock.now());
    stored = await (stored ? store.update<"Lease">(lease) : store.create<"Lease">(lease));
    certain = true;
  };
  const run = async (): Promise<number> => {
    try {
      await withDeadline(CALL_MS, renew(), "the store did not answer the heartbeat", clock);
      failures = 0;
      onOutcome(undefined);
      return intervalMs();
    } catch (thrown) {
      onOutcome(thrown);
      failures++;
      const error = asNattoError(thrown);
      if (wasCertain && error.code === "Conflict") {
        logger.warn(
          `somebody else wrote the Lease of ${facts().node}; does another agent run under this name?`,
        );
      } else if (failures === 1) {
        logger.warn(`the lease cannot be renewed: ${error.message}`);
      }
      return Math.min(intervalMs(), backoffMs(STORE_BACKOFF, failures, random()));
    }
  };
  const loop = startTaskLoop(run, MIN_GAP_MS, clock);

  return {
    kick: loop.kick,
    async stop(limitMs) {
      const end = loop.stop().then(() => renew().catch(onOutcome));
      await within(limitMs, end, clock);
    },
  };
}
