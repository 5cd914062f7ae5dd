/**
 * The loop that makes the kernel agree with the configuration: on every change and every two seconds, never twice at once.
 * What its outcomes mean is told by pure functions; the loop only calls the dataplane and keeps the time.
 */

import { backoffMs, DATAPLANE_BACKOFF } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Dataplane, DataplaneStatus, Repair } from "../dataplane/dataplane.ts";
import { asNattoError, describeError, type NattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { startTaskLoop, within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";

export const REPAIR_INTERVAL_MS = 2000;

/** A configuration and the name of its content. */
export interface WantedConfig {
  readonly generation: number;
  readonly digest: string;
  readonly spec: NodeConfig["spec"];
}

/** What was changed behind the agent's back and mended: since the agent's start. Times are epoch ms. */
export interface Drift {
  readonly at: number;
  readonly repairs: readonly Repair[];
  /** Repairs of this kind since the agent's start. */
  readonly total: number;
}

export interface Failure {
  readonly error: NattoError;
  /** The first of the failures in a row. Epoch ms. */
  readonly since: number;
  readonly attempts: number;
}

/** Times are epoch ms. */
export interface DataplaneState {
  readonly wanted: WantedConfig | undefined;
  /** What the dataplane was last made to run. `since` is when it began to, `checkedAt` when that was last seen to be so. */
  readonly applied:
    | {
        readonly generation: number;
        readonly digest: string;
        readonly since: number;
        readonly checkedAt: number;
      }
    | undefined;
  readonly failure: Failure | undefined;
  /** When the attempt that is under way began. */
  readonly attemptSince: number | undefined;
  readonly drift: Drift | undefined;
}

export const UNPROGRAMMED: DataplaneState = {
  wanted: undefined,
  applied: undefined,
  failure: undefined,
  attemptSince: undefined,
  drift: undefined,
};

/**
 * The attempt to apply `config` succeeded with these repairs. They are drift when nothing but somebody else can have caused
 * them: the same configuration was there at the last attempt, and that one succeeded.
 */
export function attemptSucceeded(
  state: DataplaneState,
  config: WantedConfig,
  repairs: readonly Repair[],
  now: number,
): DataplaneState {
  const { applied } = state;
  const unchanged = applied?.digest === config.digest && state.failure === undefined;
  const drifted = unchanged && repairs.length > 0;
  const since = applied?.digest === config.digest ? applied.since : now;
  return {
    ...state,
    applied: { generation: config.generation, digest: config.digest, since, checkedAt: now },
    failure: undefined,
    attemptSince: undefined,
    drift: drifted ? { at: now, repairs, total: (state.drift?.total ?? 0) + repairs.length } : state.drift,
  };
}

export function attemptFailed(state: DataplaneState, error: NattoError, now: number): DataplaneState {
  const { failure } = state;
  return {
    ...state,
    attemptSince: undefined,
    failure: { error, since: failure?.since ?? now, attempts: (failure?.attempts ?? 0) + 1 },
  };
}

export interface ReconcilerOptions {
  readonly dataplane: Dataplane;
  readonly logger: AgentLogger;
  /** Called after each attempt. */
  readonly onChange: () => void;
  /** Called, and waited for, before the dataplane is made to run another configuration than it does. */
  readonly beforeChange?: (next: NodeConfig["spec"]) => Promise<void>;
  readonly intervalMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: () => number;
}

export interface Reconciler {
  /** Sets what the dataplane is to run, and begins at once. */
  want(config: WantedConfig): void;
  /** Looks at once whether the dataplane is as it should be. */
  recheck(): void;
  state(): DataplaneState;
  /** Counters and sessions, or undefined when the dataplane cannot tell. */
  measure(): DataplaneStatus | undefined;
  /** Ends after the attempt that is under way, or after `limitMs`. */
  stop(limitMs: number): Promise<void>;
}

export function startReconciler(options: ReconcilerOptions): Reconciler {
  const { dataplane, logger, onChange, beforeChange = async () => {} } = options;
  const { intervalMs = REPAIR_INTERVAL_MS, clock = SYSTEM_CLOCK, random = Math.random } = options;
  const { now } = clock;
  let state = UNPROGRAMMED;

  const attempt = async (): Promise<number> => {
    const { wanted } = state;
    if (!wanted) return intervalMs;
    state = { ...state, attemptSince: now() };
    try {
      if (state.applied?.digest !== wanted.digest) await beforeChange(wanted.spec);
      const { repairs } = await dataplane.ensure(wanted.spec);
      const before = state;
      state = attemptSucceeded(before, wanted, repairs, now());
      logSuccess(logger, before, state, repairs);
      return intervalMs;
    } catch (thrown) {
      const error = asNattoError(thrown);
      const before = state.failure;
      state = attemptFailed(state, error, now());
      if (before?.error.message !== error.message) {
        logger.error({ code: error.code }, `the dataplane cannot be made so: ${describeError(error)}`);
      }
      return backoffMs(DATAPLANE_BACKOFF, state.failure?.attempts ?? 1, random());
    } finally {
      onChange();
    }
  };
  const loop = startTaskLoop(attempt, 0, clock);

  return {
    want(config) {
      state = { ...state, wanted: config };
      loop.kick();
    },
    recheck: loop.kick,
    state: () => state,
    measure() {
      try {
        return dataplane.status();
      } catch (thrown) {
        logger.warn(`the dataplane's counters cannot be read: ${asNattoError(thrown).message}`);
        return undefined;
      }
    },
    stop: (limitMs) => within(limitMs, loop.stop(), clock),
  };
}

/** `what: detail`, one after the other; long lists are cut, with the number of those left out. */
export function describeRepairs(repairs: readonly Repair[]): string {
  const shown = repairs.slice(0, 5).map((r) => `${r.what}: ${r.detail}`);
  const more = repairs.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

function logSuccess(
  logger: AgentLogger,
  before: DataplaneState,
  after: DataplaneState,
  repairs: readonly Repair[],
): void {
  if (after.drift !== before.drift) {
    logger.warn({ repairs }, `changed behind the agent's back, repaired: ${describeRepairs(repairs)}`);
  } else if (before.applied?.digest !== after.applied?.digest || before.failure) {
    const { generation, digest } = after.applied ?? { generation: 0, digest: "" };
    logger.info(
      { generation, digest, repairs },
      `NodeConfig generation ${generation} (${digest}) is applied`,
    );
  }
}
