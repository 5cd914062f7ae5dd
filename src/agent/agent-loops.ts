/**
 * The loops of the agent, put together: take the NodeConfig, make it so, verify it, keep a snapshot, report. Each is a file of its own, and
 * none waits for another: the store may be away, a peer or the dataplane may fail, and the rest goes on. All that ties them to a
 * machine comes in as a parameter.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Dataplane } from "../dataplane/dataplane.ts";
import { startEventRecorder } from "../events/recorder.ts";
import type { ConsulRegistration, NodeFacts } from "../membership/consul-registration.ts";
import { CONSUL_LEASE_INTERVAL_MS } from "../membership/consul-tuning.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { GatewayUsage } from "../model/usage.ts";
import type { Router } from "../routing/router.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type Announcer, startAnnouncer } from "./announcer.ts";
import { startConfigFollower } from "./config-follower.ts";
import { healthChecks } from "./health-checks.ts";
import { type Heartbeat, heartbeatIntervalMs, startHeartbeat } from "./heartbeat.ts";
import { makeNodeEvents } from "./node-events.ts";
import { type NodeStatus, nodeStatus, type Observation } from "./node-status.ts";
import type { PeerProber, PeerProberOptions, ProbeTargets } from "./peer-prober.ts";
import { startReconciler, type WantedConfig } from "./reconciler.ts";
import type { NodeIdentity } from "./registration.ts";
import { startReturnWatch } from "./return-watch.ts";
import type { SnapshotDisk } from "./snapshot-keeper.ts";
import { type StatusReporter, startStatusReporter } from "./status-reporter.ts";
import { trackContact } from "./store-contact.ts";
import { startUsageMeter } from "./usage-meter.ts";

const DEFAULT_TTL_SECONDS = 3;
/** How long the end of the loops may take, and then the last writes to the store. */
const STOP_MS = 1000;
const LAST_WRITE_MS = 1000;

/**
 * After a reboot the slots of the snapshot may have moved, so the store is given this long to say so before the node takes them up. (A node
 * that was forwarding all the time goes on at once.)
 */
export const NEWS_PATIENCE_MS = 1000;

export interface AgentParts {
  readonly identity: NodeIdentity;
  readonly store: Store;
  readonly dataplane: Dataplane;
  readonly snapshots: SnapshotDisk;
  /** By which the node is announced; without one it is not. */
  readonly router?: Router;
  readonly startProber: (options: PeerProberOptions) => PeerProber;
  /** Keeps the node registered where the members are known by (Consul); without it the Lease alone says that the agent lives. */
  readonly startRegistration?: ((facts: () => NodeFacts) => ConsulRegistration) | undefined;
  readonly logger: AgentLogger;
  readonly version: string;
  /** Where the node can be observed, if it can. */
  readonly observer?: { readonly url: string } | undefined;
  /** Nothing was pinned when the agent started: it programs this machine anew, as after a reboot. */
  readonly fresh: boolean;
  readonly clock?: Clock;
  /** A number from 0 to 1, for the jitter of retries. */
  readonly random?: () => number;
  readonly repairIntervalMs?: number;
  readonly countersIntervalMs?: number;
}

export interface AgentLoops {
  /** What the dataplane is to run now. */
  config(): NodeConfig["spec"] | undefined;
  /** How much of their ports gateways use on this node, as last measured. */
  usage(): readonly GatewayUsage[];
  /** Stops all loops and tells the store, each for at most a second. */
  stop(): Promise<void>;
}

/** Resolves once the snapshot, if there is one, is on its way to the dataplane. */
export async function startAgentLoops(parts: AgentParts): Promise<AgentLoops> {
  const { identity, store, dataplane, snapshots, logger, version, fresh } = parts;
  const { clock = SYSTEM_CLOCK, random = Math.random, countersIntervalMs } = parts;
  const { node, cell } = identity;
  const startedAt = clock.now();
  let stopping = false;
  let reporter: StatusReporter | undefined;
  let heartbeat: Heartbeat | undefined;
  let registration: ConsulRegistration | undefined;
  let draining = false;
  const onChange = (): void => {
    reporter?.kick();
    registration?.kick();
  };

  const recorder = startEventRecorder({ store, reporter: node, logger, clock, random });
  const events = makeNodeEvents(node, recorder);
  events.started(version, fresh);
  const contact = trackContact(store.description, logger, onChange, clock);
  const cells = openMirror(store, { kind: "Cell", name: cell }, { clock });
  const intervalMs = parts.repairIntervalMs;
  let announcer: Announcer | undefined;
  const reconciler = startReconciler({
    ...{ dataplane, logger, intervalMs, clock, random },
    beforeChange: async (next) => announcer?.beforeChange(next),
    onChange: () => {
      onChange();
      events.drift(reconciler.state().drift);
      announcer?.kick();
    },
  });
  const { router } = parts;
  announcer = router && startAnnouncer({ router, logger, dataplane: reconciler.state, onChange, clock });
  let wasIsolated = false;
  const prober = parts.startProber({
    logger,
    onChange: () => heartbeat?.kick(),
    onView: (peer, view) => events.peer(peer, view, prober.alive()),
    onVerdict(dead) {
      dataplane.setDead(dead);
      const isIsolated = prober.isolated();
      if (wasIsolated && !isIsolated) {
        dataplane.noteReturn();
        reconciler.recheck();
      }
      wasIsolated = isIsolated;
    },
  });
  const returnWatch = startReturnWatch({
    ...{ node, store, dataplane, reconciler, logger, clock },
    isIsolated: () => prober.isolated(),
  });
  const onConfig = (config: NodeConfig, wanted: WantedConfig): void => {
    reconciler.want(wanted);
    prober.follow(probeTargets(config, node));
  };
  const patienceMs = fresh ? NEWS_PATIENCE_MS : 0;
  const holding = { node, cell, snapshots, logger, onConfig, onChange, now: clock.now };
  const follower = await startConfigFollower({ store, patienceMs, clock, ...holding });
  const runs = () => reconciler.state().wanted?.spec;
  const meter = startUsageMeter({ dataplane, node, config: runs, logger, clock });
  const ttlSeconds = () => cells.get(cell)?.spec.membership.ttlSeconds ?? DEFAULT_TTL_SECONDS;
  const observe = (generation: number): Observation => {
    const config = follower.state();
    const state = { dataplane: reconciler.state(), measured: reconciler.measure(), store: contact.state() };
    const routing = announcer?.state();
    const { observer } = parts;
    const usage = meter.state();
    return { version, startedAt, fresh, stopping, generation, config, routing, observer, usage, ...state };
  };
  const report = ({ metadata, spec, status }: GatewayNode): NodeStatus => {
    if (draining !== spec.drain) registration?.kick();
    draining = spec.drain;
    const told = nodeStatus(observe(metadata.generation), status, clock.now());
    events.conditions(status?.conditions ?? [], told.conditions);
    return told;
  };
  registration = parts.startRegistration?.(() => {
    const { conditions } = nodeStatus(observe(0), undefined, clock.now());
    const { address } = identity;
    const checks = healthChecks(conditions);
    return { node, cell, address, version, draining, ttlSeconds: ttlSeconds(), checks };
  });
  const startBeating = (): Heartbeat => {
    const membership = registration ? ({ membership: "consul" } as const) : {};
    const facts = () => ({ node, cell, peersAlive: prober.alive(), ...membership });
    // Where something else says that the agent lives, the Lease only carries what it sees of its peers.
    const intervalMs = () => (registration ? CONSUL_LEASE_INTERVAL_MS : heartbeatIntervalMs(ttlSeconds()));
    return startHeartbeat({ store, logger, onOutcome: contact.note, facts, intervalMs, clock, random });
  };
  const onOutcome = (thrown: unknown): void => {
    contact.note(thrown);
    // Not earlier: after a reboot the store still holds that this node is ready, and a heartbeat would make that count.
    if (!stopping) heartbeat ??= startBeating();
  };
  const reporting = { store, identity, logger, report, onOutcome, countersIntervalMs, clock, random };
  reporter = startStatusReporter(reporting);

  return {
    config: runs,
    usage: meter.state,
    async stop() {
      stopping = true;
      // First nothing changes any more, then it is told: so what is told last is true.
      await Promise.all([
        within(STOP_MS, follower.close(), clock),
        within(STOP_MS, cells.close(), clock),
        reconciler.stop(STOP_MS),
        within(STOP_MS, returnWatch.stop(), clock),
        within(STOP_MS, meter.stop(), clock),
        announcer?.stop(STOP_MS),
      ]);
      events.stopped();
      await Promise.all([
        recorder.stop(LAST_WRITE_MS),
        reporter?.stop(LAST_WRITE_MS),
        heartbeat?.stop(LAST_WRITE_MS),
        registration?.stop(LAST_WRITE_MS),
      ]);
      await prober.close();
    },
  };
}

/** Whom to probe: all peers, from the address that they know this node by. */
function probeTargets({ spec }: NodeConfig, node: string): ProbeTargets {
  const peers = spec.peers.filter((peer) => peer.name !== node);
  return { address: spec.node.address, port: spec.vxlan.port, peers };
}
