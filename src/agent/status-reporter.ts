/**
 * Keeps the GatewayNode in the store true: registers it, corrects it, and writes its status when that has changed. Quiet while the
 * store is away, and up to date soon after it is back.
 */

import { backoffMs, STORE_BACKOFF } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop, withDeadline, within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type NodeStatus, statusDifference } from "./node-status.ts";
import { type NodeIdentity, registerNode } from "./registration.ts";

/** Least time between two writes that tell nothing but counters. */
export const COUNTERS_INTERVAL_MS = 2000;
/** How often the GatewayNode is read, to see whether it is still there and still right. */
const RECHECK_MS = 10_000;
/** A report that takes longer is given up: on another connection the next one may be faster. */
const REPORT_MS = 5000;
/** Changes that come in a burst are told together. */
const MIN_GAP_MS = 50;

export interface StatusReporterOptions {
  readonly store: Store;
  readonly identity: NodeIdentity;
  readonly logger: AgentLogger;
  /** What is to be reported now, given the node as stored. */
  readonly report: (node: GatewayNode) => NodeStatus;
  /** Told the outcome of each call: undefined, or what was thrown. */
  readonly onOutcome: (thrown: unknown) => void;
  readonly countersIntervalMs?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: () => number;
}

export interface StatusReporter {
  /** Something worth telling has changed. */
  kick(): void;
  /** Reports a last time, if it takes no longer than `limitMs`, and ends. */
  stop(limitMs: number): Promise<void>;
}

export function startStatusReporter(options: StatusReporterOptions): StatusReporter {
  const { store, identity, logger, report, onOutcome, random = Math.random, clock = SYSTEM_CLOCK } = options;
  const { countersIntervalMs = COUNTERS_INTERVAL_MS } = options;
  let node: GatewayNode | undefined;
  let checkedAt = 0;
  let wroteAt = Number.NEGATIVE_INFINITY;
  let failures = 0;
  let lastProblem = "";

  const register = async (): Promise<GatewayNode> => {
    if (node && clock.elapsed() - checkedAt < RECHECK_MS) return node;
    const stored = await registerNode(store, identity);
    checkedAt = clock.elapsed();
    if (node?.metadata.uid !== stored.metadata.uid) {
      logger.info({ generation: stored.metadata.generation }, `registered as GatewayNode ${identity.node}`);
    }
    return stored;
  };
  const tell = async (): Promise<void> => {
    node = await register();
    const status = report(node);
    const due = clock.elapsed() - wroteAt >= countersIntervalMs;
    const difference = statusDifference(node.status, status);
    if (difference === "none" || (difference === "traffic" && !due)) return;
    // Nobody else writes this status, so the write depends on nothing.
    const metadata = { ...node.metadata, resourceVersion: "" };
    node = await store.updateStatus<"GatewayNode">({ ...node, metadata, status });
    wroteAt = clock.elapsed();
  };
  const run = async (): Promise<number> => {
    try {
      await withDeadline(REPORT_MS, tell(), "the store did not take the node's status", clock);
      failures = 0;
      lastProblem = "";
      onOutcome(undefined);
      return countersIntervalMs;
    } catch (thrown) {
      const error = asNattoError(thrown);
      // Somebody deleted the GatewayNode: it is registered anew, since a node with a running agent exists.
      if (error.code === "NotFound") node = undefined;
      failures++;
      onOutcome(error);
      if (error.message !== lastProblem) logger.warn({ code: error.code }, `cannot report: ${error.message}`);
      lastProblem = error.message;
      return backoffMs(STORE_BACKOFF, failures, random());
    }
  };
  const loop = startTaskLoop(run, MIN_GAP_MS, clock);

  return {
    kick: loop.kick,
    async stop(limitMs) {
      await within(
        limitMs,
        loop.stop().then(() => tell().catch(onOutcome)),
        clock,
      );
    },
  };
}
