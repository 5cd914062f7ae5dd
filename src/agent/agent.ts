/**
 * The agent of one node: it takes the NodeConfig, makes it so, verifies it, keeps a snapshot and reports. Each of its loops is
 * a file of its own; here they are put together. No loop waits for another: the store may be away, a peer or the dataplane
 * may fail, and the rest goes on.
 */
import { existsSync } from "node:fs";
import type { Dataplane, DataplaneOptions } from "../dataplane/dataplane.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { startConfigFollower } from "./config-follower.ts";
import { type FolderLock, lockFolders, releaseAll } from "./folder-lock.ts";
import { type Heartbeat, startHeartbeat } from "./heartbeat.ts";
import { type NodeStatus, nodeStatus } from "./node-status.ts";
import { type ProbeTargets, startPeerProber } from "./peer-prober.ts";
import { startReconciler, type WantedConfig } from "./reconciler.ts";
import { type NodeIdentity, planRegistration } from "./registration.ts";
import { type StatusReporter, startStatusReporter } from "./status-reporter.ts";
import { trackContact } from "./store-contact.ts";

const DEFAULT_TTL_SECONDS = 3;
/** How long the end of the loops may take, and then the last writes to the store. */
const STOP_MS = 1000;
const LAST_WRITE_MS = 1000;

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
  const { identity, pinFolder, stateFolder, maxSessions } = options;
  const pinned = existsSync(pinFolder);
  const locks = lockFolders(pinned ? [stateFolder, pinFolder] : [stateFolder]);
  let dataplane: Dataplane | undefined;
  try {
    dataplane = await options.openDataplane({ node: identity.node, pinFolder, stateFolder, maxSessions });
    // Only the dataplane knows what a folder for pins needs, so a missing one is left to it to make.
    if (!pinned) locks.push(...lockFolders([pinFolder]));
    return await runAgent(options, dataplane, { locks, fresh: !pinned });
  } catch (thrown) {
    dataplane?.close();
    releaseAll(locks);
    throw thrown;
  }
}

/**
 * After a reboot the slots of the snapshot may have moved, so the store is given this long to say so before the node takes them up. (A node
 * that was forwarding all the time goes on at once.)
 */
const NEWS_PATIENCE_MS = 1000;

interface Circumstances {
  readonly locks: readonly FolderLock[];
  /** Nothing was pinned when the agent started: it programs this machine anew, as after a reboot. */
  readonly fresh: boolean;
}

async function runAgent(
  options: AgentOptions,
  dataplane: Dataplane,
  { locks, fresh }: Circumstances,
): Promise<Agent> {
  const { identity, store, logger, version, stateFolder } = options;
  const { node, cell } = identity;
  const startedAt = Date.now();
  let stopping = false;
  let reporter: StatusReporter | undefined;
  let heartbeat: Heartbeat | undefined;
  const onChange = (): void => reporter?.kick();

  const contact = trackContact(store.description, logger, onChange);
  const cells = openMirror(store, { kind: "Cell", name: cell });
  const reconciler = startReconciler({ dataplane, logger, onChange, intervalMs: options.repairIntervalMs });
  const prober = startPeerProber({ logger, onChange: () => heartbeat?.kick() });
  const onConfig = (config: NodeConfig, wanted: WantedConfig): void => {
    reconciler.want(wanted);
    prober.follow(probeTargets(config, node));
  };
  const holding = { node, cell, stateFolder, logger, onConfig, onChange, now: Date.now };
  const follower = await startConfigFollower({ store, patienceMs: fresh ? NEWS_PATIENCE_MS : 0, ...holding });
  const report = ({ metadata, status }: GatewayNode): NodeStatus => {
    const config = follower.state();
    const state = { dataplane: reconciler.state(), measured: reconciler.measure(), store: contact.state() };
    const { generation } = metadata;
    const seen = { version, startedAt, fresh, stopping, generation, config, ...state };
    return nodeStatus(seen, status, Date.now());
  };
  const startBeating = (): Heartbeat => {
    const facts = () => ({ node, cell, peersAlive: prober.alive() });
    const ttlSeconds = () => cells.get(cell)?.spec.membership.ttlSeconds ?? DEFAULT_TTL_SECONDS;
    return startHeartbeat({ store, logger, onOutcome: contact.note, facts, ttlSeconds });
  };
  const onReported = (thrown: unknown): void => {
    contact.note(thrown);
    // Not earlier: after a reboot the store still holds that this node is ready, and a heartbeat would make that count.
    if (!stopping) heartbeat ??= startBeating();
  };
  const { countersIntervalMs } = options;
  reporter = startStatusReporter({
    store,
    identity,
    logger,
    report,
    onOutcome: onReported,
    countersIntervalMs,
  });

  const stop = async (): Promise<void> => {
    stopping = true;
    // First nothing changes any more, then it is told: so what is told last is true.
    await Promise.all([
      within(STOP_MS, follower.close()),
      within(STOP_MS, cells.close()),
      reconciler.stop(STOP_MS),
    ]);
    await Promise.all([reporter?.stop(LAST_WRITE_MS), heartbeat?.stop(LAST_WRITE_MS)]);
    await prober.close();
    dataplane.close();
    releaseAll(locks);
    logger.info("the agent has stopped; the node goes on forwarding");
  };
  let stopped: Promise<void> | undefined;
  return { close: () => (stopped ??= stop()) };
}

/** Whom to probe: all peers, from the address that they know this node by. */
function probeTargets({ spec }: NodeConfig, node: string): ProbeTargets {
  const peers = spec.peers.filter((peer) => peer.name !== node);
  return { address: spec.node.address, port: spec.vxlan.port, peers };
}
