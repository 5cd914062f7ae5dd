/**
 * A node that was out of its peers' reach stands down by itself (docs/dataplane.md, "Standing down"): its slots may be others' by now. Here is told
 * when it may act again by the configuration that it runs: as soon as the store says that it is the one of now.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Dataplane } from "../dataplane/dataplane.ts";
import { asNattoError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop, type TaskLoop, withDeadline } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import type { Reconciler } from "./reconciler.ts";

const INTERVAL_MS = 50;
/**
 * A store that says nothing for so long says nothing to anybody, for all that this node can know: it goes on with what it has. Peers that are silent
 * for so long may wait for this node as it does for them.
 */
export const PATIENCE_MS = 3000;
const CALL_MS = 1000;

/** What the store says of the node's configuration. */
export type Declared =
  | { readonly found: "nothing" }
  | { readonly found: "config"; readonly generation: number };

export interface ReturnView {
  /** For how long the node has stood down with its agent at work, in milliseconds. */
  readonly forMs: number;
  readonly declared: Declared;
  /** The generation that the dataplane runs, as last made sure of since the node stood down. */
  readonly applied: number | undefined;
  /** All peers are dead in this node's eyes, so it would ask none of them for their flows. (They may stand down as well.) */
  readonly isIsolated: boolean;
}

/** Whether a node that stands down may act again. Pure. */
export function mayActAgain({ forMs, declared, applied, isIsolated }: ReturnView): boolean {
  if (applied === undefined) return false;
  if (forMs >= PATIENCE_MS) return declared.found === "nothing" || declared.generation === applied;
  return !isIsolated && declared.found === "config" && declared.generation === applied;
}

export interface ReturnWatchOptions {
  readonly node: string;
  readonly store: Store;
  readonly dataplane: Pick<Dataplane, "standsDown" | "standUp" | "noteReturn">;
  readonly reconciler: Pick<Reconciler, "state" | "recheck">;
  readonly isIsolated: () => boolean;
  readonly logger: AgentLogger;
  readonly clock?: Clock;
}

export function startReturnWatch(options: ReturnWatchOptions): TaskLoop {
  const { node, store, dataplane, reconciler, isIsolated, logger, clock = SYSTEM_CLOCK } = options;
  let since: number | undefined;

  const declared = async (): Promise<Declared> => {
    try {
      const asked = store.get({ kind: "NodeConfig", name: node });
      const config = await withDeadline(CALL_MS, asked, "the store does not answer", clock);
      return config ? { found: "config", generation: config.metadata.generation } : { found: "nothing" };
    } catch (thrown) {
      logger.debug(`what is declared for a node that stands down: ${asNattoError(thrown).message}`);
      return { found: "nothing" };
    }
  };
  const run = async (): Promise<number> => {
    if (!dataplane.standsDown()) {
      since = undefined;
      return INTERVAL_MS;
    }
    if (since === undefined) {
      // An attempt that is under way may not know yet that the node was away.
      if (reconciler.state().attemptSince !== undefined) return INTERVAL_MS;
      since = clock.now();
      logger.warn(
        "the node was out of its peers' reach: it passes everything on until it knows what is declared",
      );
      dataplane.noteReturn();
      reconciler.recheck();
    }
    const known = await declared();
    const { applied, attemptSince } = reconciler.state();
    const isMadeSure = applied && attemptSince === undefined && applied.checkedAt > since;
    const made = isMadeSure ? applied.generation : undefined;
    const view = { declared: known, applied: made, isIsolated: isIsolated() };
    if (!mayActAgain({ ...view, forMs: clock.now() - since })) return INTERVAL_MS;
    dataplane.standUp();
    const why =
      known.found === "config" ? "its configuration is the one of now" : "the store does not say otherwise";
    logger.info(`the node acts again by its configuration: ${why}`);
    since = undefined;
    return INTERVAL_MS;
  };
  return startTaskLoop(run, 0, clock);
}
