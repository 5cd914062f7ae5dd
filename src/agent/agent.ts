/**
 * The agent of one node on its machine: it takes the node's folders for itself, opens the dataplane, and starts the loops
 * (`agent-loops.ts`) that do the work.
 */
import { existsSync } from "node:fs";
import type { Dataplane, DataplaneOptions } from "../dataplane/dataplane.ts";
import { openRouter } from "../routing/open-router.ts";
import type { Store } from "../store/store.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { startAgentLoops } from "./agent-loops.ts";
import { lockFolders, releaseAll } from "./folder-lock.ts";
import { startPeerProber } from "./peer-prober.ts";
import { type NodeIdentity, planRegistration } from "./registration.ts";
import { snapshotFolder } from "./snapshot-keeper.ts";

export interface AgentOptions extends Omit<DataplaneOptions, "node"> {
  readonly identity: NodeIdentity;
  /** Need not be reachable, now or ever. The agent does not close it. */
  readonly store: Store;
  readonly openDataplane: (options: DataplaneOptions) => Dataplane | Promise<Dataplane>;
  readonly logger: AgentLogger;
  /** Natto's version, for the node's status. */
  readonly version: string;
  /** Milliseconds between two verifications of the dataplane. */
  readonly repairIntervalMs?: number;
  /** Least milliseconds between two reports of counters. */
  readonly countersIntervalMs?: number;
}

export interface Agent {
  /** Stops all loops, tells the store for at most a second, lets go of the dataplane. Forwarding goes on. */
  close(): Promise<void>;
}

/**
 * Starts the agent and resolves once its snapshot, if there is one, is on its way to the dataplane. The store is waited for only
 * after a reboot, for a moment. Throws `Environment` when another agent works in the same folders, or when the machine lacks what the dataplane needs, and
 * `Invalid` when the identity breaks the rules of a GatewayNode.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  // Wrong flags are told at once, and not by a store that may be away.
  planRegistration(undefined, options.identity);
  const { identity, pinFolder, stateFolder, maxSessions, logger } = options;
  const pinned = existsSync(pinFolder);
  const locks = lockFolders(pinned ? [stateFolder, pinFolder] : [stateFolder]);
  let dataplane: Dataplane | undefined;
  try {
    dataplane = await options.openDataplane({ node: identity.node, pinFolder, stateFolder, maxSessions });
    // Only the dataplane knows what a folder for pins needs, so a missing one is left to it to make.
    if (!pinned) locks.push(...lockFolders([pinFolder]));
    const snapshots = snapshotFolder(stateFolder);
    const loops = await startAgentLoops({
      ...options,
      dataplane,
      snapshots,
      router: openRouter(stateFolder),
      startProber: startPeerProber,
      fresh: !pinned,
    });
    const opened = dataplane;
    const stop = async (): Promise<void> => {
      await loops.stop();
      opened.close();
      releaseAll(locks);
      logger.info("the agent has stopped; the node goes on forwarding");
    };
    let stopped: Promise<void> | undefined;
    return { close: () => (stopped ??= stop()) };
  } catch (thrown) {
    dataplane?.close();
    releaseAll(locks);
    throw thrown;
  }
}
