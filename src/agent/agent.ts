/**
 * The agent of one node on its machine: it takes the node's folders for itself, opens the dataplane, and starts the loops
 * (`agent-loops.ts`) that do the work.
 */
import { existsSync } from "node:fs";
import type { Dataplane, DataplaneOptions } from "../dataplane/dataplane.ts";
import type { ConsulRegistration, NodeFacts } from "../membership/consul-registration.ts";
import { openRouter } from "../routing/open-router.ts";
import { type Observer, startObserver } from "../sight/observer.ts";
import type { Store } from "../store/store.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type AgentLoops, startAgentLoops } from "./agent-loops.ts";
import { lockFolders, releaseAll } from "./folder-lock.ts";
import { openLineSink } from "./line-sink.ts";
import { makeAgentMetrics } from "./metrics.ts";
import { startPeerProber } from "./peer-prober.ts";
import { type NodeIdentity, planRegistration } from "./registration.ts";
import { startSessionLogger } from "./session-logger.ts";
import { snapshotFolder } from "./snapshot-keeper.ts";

export interface AgentOptions extends Omit<DataplaneOptions, "node"> {
  readonly identity: NodeIdentity;
  /** Need not be reachable, now or ever. The agent does not close it. */
  readonly store: Store;
  readonly openDataplane: (options: DataplaneOptions) => Dataplane | Promise<Dataplane>;
  /** Without it the Lease alone says that the agent lives. */
  readonly startRegistration?: (facts: () => NodeFacts) => ConsulRegistration;
  readonly logger: AgentLogger;
  /** Where the node's sessions and metrics can be read; nowhere if not given. */
  readonly observe?: ObserveOptions;
  /** Where the sessions of gateways that log them are written down. */
  readonly sessionLog?: SessionLogOptions;
  /** Natto's version, for the node's status. */
  readonly version: string;
  /** Milliseconds between two verifications of the dataplane. */
  readonly repairIntervalMs?: number;
  /** Least milliseconds between two reports of counters. */
  readonly countersIntervalMs?: number;
}

export interface SessionLogOptions {
  /** `-` is standard output. */
  readonly file: string;
  readonly linesPerSecond: number;
}

export interface ObserveOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** The host that others know this one by, where `host` stands for all addresses. */
  readonly knownAs: string;
  readonly token: string | undefined;
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
  let observer: (Observer & { readonly url: string }) | undefined;
  let loops: AgentLoops | undefined;
  try {
    dataplane = await options.openDataplane({ node: identity.node, pinFolder, stateFolder, maxSessions });
    // Only the dataplane knows what a folder for pins needs, so a missing one is left to it to make.
    if (!pinned) locks.push(...lockFolders([pinFolder]));
    const snapshots = snapshotFolder(stateFolder);
    const opened = dataplane;
    observer = await observe(options, opened, () => loops);
    loops = await startAgentLoops({
      ...options,
      observer: observer && { url: observer.url },
      dataplane,
      snapshots,
      router: openRouter(stateFolder),
      startProber: startPeerProber,
      fresh: !pinned,
    });
    const running = loops;
    const endLog = logSessions(options, opened, running);
    const stop = async (): Promise<void> => {
      await running.stop();
      await endLog?.();
      await observer?.close();
      opened.close();
      releaseAll(locks);
      logger.info("the agent has stopped; the node goes on forwarding");
    };
    let stopped: Promise<void> | undefined;
    return { close: () => (stopped ??= stop()) };
  } catch (thrown) {
    await observer?.close();
    dataplane?.close();
    releaseAll(locks);
    throw thrown;
  }
}

/** Keeps the session log; returns the function that ends it. */
function logSessions(
  { sessionLog, identity, logger }: AgentOptions,
  dataplane: Dataplane,
  { config }: AgentLoops,
): (() => Promise<void>) | undefined {
  if (!sessionLog) return undefined;
  const { file, linesPerSecond } = sessionLog;
  const { node } = identity;
  const sink = openLineSink(file, logger);
  const lostInKernel = () => dataplane.status().counters.log_lost ?? 0;
  const events = dataplane.sessionEvents();
  const options = { events, lostInKernel, node, config, write: sink.write, linesPerSecond, logger };
  const log = startSessionLogger(options);
  return async () => {
    await log.stop();
    await sink.close();
  };
}

/** Lets the node be read over HTTP, where that is wanted. */
async function observe(
  { observe: wanted, identity }: AgentOptions,
  dataplane: Dataplane,
  loops: () => AgentLoops | undefined,
): Promise<(Observer & { readonly url: string }) | undefined> {
  if (!wanted) return undefined;
  const { node } = identity;
  const config = () => loops()?.config();
  const metrics = makeAgentMetrics(node, dataplane, { config, usage: () => loops()?.usage() ?? [] });
  const { sessions } = dataplane;
  const observer = await startObserver({ ...wanted, node, config, sessions, metrics });
  const url = `http://${wanted.knownAs}:${observer.port}`;
  return { ...observer, url };
}
