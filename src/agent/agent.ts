/**
 * The agent of one node: it takes the NodeConfig, makes it so, verifies it, keeps a snapshot and reports. Each of its loops is
 * a file of its own; here they are put together. No loop waits for another: the store may be away, a peer or the dataplane
 * may fail, and the rest goes on.
 */
import { existsSync } from "node:fs";
import type { Dataplane, DataplaneOptions } from "../dataplane/dataplane.ts";
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type ConfigFollower, startConfigFollower } from "./config-follower.ts";
import { type FolderLock, lockFolders, releaseAll } from "./folder-lock.ts";
import { type Heartbeat, startHeartbeat } from "./heartbeat.ts";
import { nodeStatus } from "./node-status.ts";
import { type PeerProber, type ProbeTargets, startPeerProber } from "./peer-prober.ts";
import { type Reconciler, startReconciler } from "./reconciler.ts";
import { type NodeIdentity, planRegistration } from "./registration.ts";
import { type StatusReporter, startStatusReporter } from "./status-reporter.ts";
import { NO_CONTACT, storeAnswered, storeFailed } from "./store-contact.ts";
import { within } from "./task-loop.ts";

const DEFAULT_TTL_SECONDS = 3;
/** How long each part of the shutdown may take. */
const LAST_WRITE_MS = 1000;

export interface AgentOptions extends DataplaneOptions {
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
 * Starts the agent and resolves once its snapshot, if there is one, is on its way to the dataplane; the store is not waited for.
 * Throws `Environment` when another agent works in the same folders, or when the machine lacks what the dataplane needs, and
 * `Invalid` when the identity breaks the rules of a GatewayNode.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  // Wrong flags are told at once, and not by a store that may be away.
  planRegistration(undefined, options.identity);
  const { node, pinFolder, stateFolder, maxSessions } = options;
  const pinned = existsSync(pinFolder);
  const locks = lockFolders(pinned ? [stateFolder, pinFolder] : [stateFolder]);
  let dataplane: Dataplane | undefined;
  try {
    dataplane = await options.openDataplane({ node, pinFolder, stateFolder, maxSessions });
    // Only the dataplane knows what a folder for pins needs, so a missing one is left to it to make.
    if (!pinned) locks.push(...lockFolders([pinFolder]));
    return await runAgent(options, dataplane, locks);
  } catch (thrown) {
    dataplane?.close();
    releaseAll(locks);
    throw thrown;
  }
}

async function runAgent(
  options: AgentOptions,
  dataplane: Dataplane,
  locks: readonly FolderLock[],
): Promise<Agent> {
  const { identity, store, logger, version, stateFolder } = options;
  const { node, cell } = identity;
  const startedAt = Date.now();
  let contact = NO_CONTACT;
  let stopping = false;
  let reporter: StatusReporter | undefined;
  let heartbeat: Heartbeat | undefined;
  const tellStatus = (): void => reporter?.kick();

  const onOutcome = (thrown: unknown): void => {
    const before = contact;
    const now = Date.now();
    contact =
      thrown === undefined ? storeAnswered(before, now) : storeFailed(before, asNattoError(thrown), now);
    if (before.reachable === contact.reachable) return;
    logger.info(contact.reachable ? `the store answers (${store.description})` : "the store does not answer");
    tellStatus();
  };

  const reconciler = startReconciler({
    dataplane,
    logger,
    onChange: tellStatus,
    ...(options.repairIntervalMs === undefined ? {} : { intervalMs: options.repairIntervalMs }),
  });
  const prober = startPeerProber({ logger, onChange: () => heartbeat?.kick() });
  const follower = await startConfigFollower({
    store,
    node,
    cell,
    stateFolder,
    logger,
    now: Date.now,
    onChange: tellStatus,
    onConfig(config, wanted) {
      reconciler.want(wanted);
      prober.follow(probeTargets(config, node));
    },
  });
  const cells = openMirror(store, { kind: "Cell", name: cell });
  heartbeat = startHeartbeat({
    store,
    logger,
    onOutcome,
    facts: () => ({ node, cell, peersAlive: prober.alive() }),
    ttlSeconds: () => cells.get(cell)?.spec.membership.ttlSeconds ?? DEFAULT_TTL_SECONDS,
  });
  reporter = startStatusReporter({
    store,
    identity,
    logger,
    onOutcome,
    ...(options.countersIntervalMs === undefined ? {} : { countersIntervalMs: options.countersIntervalMs }),
    report: (stored) => {
      const seen = {
        version,
        startedAt,
        stopping,
        generation: stored.metadata.generation,
        config: follower.state(),
        dataplane: reconciler.state(),
        measured: reconciler.measure(),
        store: contact,
      };
      return nodeStatus(seen, stored.status, Date.now());
    },
  });

  const stop = async (): Promise<void> => {
    stopping = true;
    await stopLoops({ reporter, heartbeat, prober, follower, reconciler });
    await cells.close();
    dataplane.close();
    releaseAll(locks);
    logger.info("the agent has stopped; the node goes on forwarding");
  };
  let stopped: Promise<void> | undefined;
  return { close: () => (stopped ??= stop()) };
}

interface Loops {
  readonly reporter: StatusReporter | undefined;
  readonly heartbeat: Heartbeat | undefined;
  readonly prober: PeerProber;
  readonly follower: ConfigFollower;
  readonly reconciler: Reconciler;
}

/** In an order in which what is reported last is still true: first nothing changes any more, then it is told. */
async function stopLoops({ reporter, heartbeat, prober, follower, reconciler }: Loops): Promise<void> {
  await within(LAST_WRITE_MS, follower.close());
  await reconciler.stop(LAST_WRITE_MS);
  await Promise.all([reporter?.stop(LAST_WRITE_MS), heartbeat?.stop(LAST_WRITE_MS)]);
  await prober.close();
}

/** Whom to probe: all peers, from the address that they know this node by. */
function probeTargets({ spec }: NodeConfig, node: string): ProbeTargets {
  const peers = spec.peers.filter((peer) => peer.name !== node);
  return { address: spec.node.address, port: spec.vxlan.port, peers };
}
