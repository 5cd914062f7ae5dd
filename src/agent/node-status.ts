/**
 * What the agent reports of its node: from what it sees to the GatewayNode's status. Pure; times are epoch ms.
 *
 * Conditions that cannot be told yet, as in the first moments after a start, are left as they were: the restart of an agent
 * changes nothing about its node. After a reboot of the machine it does: the node is not ready until it is programmed.
 */
import { isDeepStrictEqual } from "node:util";
import type { DataplaneStatus } from "../dataplane/dataplane.ts";
import { describeError } from "../errors.ts";
import { type GatewayNode, NODE_READY } from "../model/gateway-node.ts";
import { type Condition, mergeConditions } from "../model/meta.ts";
import { type GatewayUsage, reportedUsage } from "../model/usage.ts";
import { troubleOf } from "./dataplane-health.ts";
import type { Finding } from "./finding.ts";
import type { ConfigState } from "./held-config.ts";
import { type DataplaneState, describeRepairs } from "./reconciler.ts";
import type { RoutingState } from "./routing-state.ts";
import { judgeFabric, judgeRouting, routingStatus } from "./routing-status.ts";
import type { StoreContact } from "./store-contact.ts";

export const CONFIG_APPLIED = "ConfigApplied";
export const CONFIG_DOUBTED = "ConfigDoubted";
export const REPAIRED = "Repaired";
export const SNAPSHOT_GOOD = "SnapshotGood";
export const STORE_REACHABLE = "StoreReachable";
export const AGENT_RUNNING = "AgentRunning";
export const SESSION_PRESSURE = "SessionPressure";
/** From this part of the session table in use on, people are told. */
const PRESSURE_FROM = 0.8;

/** How long past events (a repair, an outage of the store) are shown as current. */
export const RECENT_MS = 10 * 60 * 1000;

export type NodeStatus = NonNullable<GatewayNode["status"]>;
type FreshCondition = Omit<Condition, "lastTransitionTime">;

export interface Observation {
  readonly version: string;
  readonly startedAt: number;
  /** The agent programs this machine anew, as after a reboot: what was reported before no longer holds. */
  readonly fresh: boolean;
  readonly stopping: boolean;
  /** `metadata.generation` of the GatewayNode that was seen. */
  readonly generation: number;
  readonly config: ConfigState;
  readonly dataplane: DataplaneState;
  readonly measured: DataplaneStatus | undefined;
  readonly store: StoreContact;
  readonly usage?: readonly GatewayUsage[] | undefined;
  /** Where the node can be observed, if it can. */
  readonly observer?: { readonly url: string } | undefined;
  /** Undefined where nobody announces anything. */
  readonly routing?: RoutingState | undefined;
}

/** The status to be stored, given the one that is stored. */
export function nodeStatus(seen: Observation, earlier: NodeStatus | undefined, now: number): NodeStatus {
  const { applied } = seen.dataplane;
  const before = earlier?.applied;
  const same =
    before && applied && before.digest === applied.digest && before.generation === applied.generation;
  const at = applied && (same ? before.at : iso(applied.since));
  const sessions = seen.measured?.sessions ?? earlier?.sessions;
  const lent = seen.measured ? seen.measured.lent : earlier?.moving;
  const appliedNow = applied && at ? { generation: applied.generation, digest: applied.digest, at } : before;
  return {
    observedGeneration: seen.generation,
    agent: { version: seen.version, startedAt: iso(seen.startedAt) },
    ...(appliedNow ? { applied: appliedNow } : {}),
    ...(sessions ? { sessions } : {}),
    ...(lent && lent.slots > 0 ? { moving: lent } : {}),
    ...(seen.observer ? { observer: seen.observer } : {}),
    ...(seen.usage?.length ? { usage: [...reportedUsage(seen.usage)] } : {}),
    counters: { ...(seen.measured?.counters ?? earlier?.counters ?? {}) },
    ...routingStatus(seen.routing, earlier?.routing),
    conditions: mergeConditions(earlier?.conditions ?? [], conditionsOf(seen, now), iso(now)),
  };
}

/** How two statuses differ: `traffic` is what changes all the time: counters, the number of sessions, ports in use. */
export function statusDifference(
  stored: NodeStatus | undefined,
  fresh: NodeStatus,
): "none" | "traffic" | "more" {
  if (isDeepStrictEqual(stored, fresh)) return "none";
  if (!stored) return "more";
  const { counters: _c, sessions: _s, usage: _u, moving, ...rest } = stored;
  const { counters: __c, sessions: __s, usage: __u, moving: freshMoving, ...freshRest } = fresh;
  // The planner waits for the last session to end.
  const emptied = (moving?.sessions === 0) !== (freshMoving?.sessions === 0);
  return !emptied && isDeepStrictEqual(rest, freshRest) ? "traffic" : "more";
}

function conditionsOf(seen: Observation, now: number): FreshCondition[] {
  const findings: readonly (readonly [string, Finding | undefined])[] = [
    [NODE_READY, judgeReady(seen, now)],
    [CONFIG_APPLIED, judgeApplied(seen)],
    [CONFIG_DOUBTED, judgeDoubt(seen.config)],
    [REPAIRED, judgeRepaired(seen.dataplane, now)],
    [SNAPSHOT_GOOD, judgeSnapshot(seen.config)],
    [STORE_REACHABLE, judgeStore(seen.store, now)],
    [AGENT_RUNNING, judgeRunning(seen)],
    [SESSION_PRESSURE, judgeSessions(seen)],
    ...(seen.routing ? judgeRouting(seen.routing) : []),
  ];
  return findings.flatMap(([type, finding]) =>
    finding ? [{ type, ...finding, observedGeneration: seen.generation }] : [],
  );
}

/** Ready: the dataplane is attached and programmed, and the fabric reaches this node. Undefined while that is not known yet. */
function judgeReady({ dataplane, config, fresh, routing }: Observation, now: number): Finding | undefined {
  const { applied, wanted } = dataplane;
  const trouble = troubleOf(dataplane, now);
  if (trouble) return { status: "False", ...trouble };
  if (applied) {
    const fabric = judgeFabric(routing, fresh, now);
    if (fabric !== "connected") return fabric;
    return { status: "True", reason: "Programmed", message: "the dataplane is attached and programmed" };
  }
  if (wanted || !config.asked) {
    const message = "the dataplane was not programmed before this agent started";
    return fresh ? { status: "False", reason: "Starting", message } : undefined;
  }
  const message = `this node has no NodeConfig; see whether the controller runs and whether the cell exists`;
  return { status: "False", reason: "NoConfig", message };
}

function judgeApplied({ dataplane, config }: Observation): Finding | undefined {
  const { wanted, applied, failure } = dataplane;
  if (!wanted) {
    return config.asked
      ? { status: "False", reason: "NoConfig", message: "there is nothing to apply" }
      : undefined;
  }
  const name = `generation ${wanted.generation} (${wanted.digest})`;
  if (failure) {
    const message = `${name} is not applied: ${describeError(failure.error)}`;
    return { status: "False", reason: "DataplaneFailed", message };
  }
  if (applied?.digest === wanted.digest) {
    return { status: "True", reason: "Applied", message: `${name} is applied` };
  }
  return applied ? { status: "False", reason: "Pending", message: `${name} is being applied` } : undefined;
}

function judgeDoubt({ doubt, asked }: ConfigState): Finding | undefined {
  if (doubt)
    return { status: "True", reason: doubt.reason, message: `since ${iso(doubt.since)}: ${doubt.message}` };
  return asked ? { status: "False", reason: "Trusted", message: "" } : undefined;
}

function judgeRepaired({ drift }: DataplaneState, now: number): Finding {
  if (!drift)
    return { status: "False", reason: "NoDrift", message: "nothing was changed behind the agent's back" };
  const message = `${iso(drift.at)}: ${describeRepairs(drift.repairs)} (${drift.total} since the agent's start)`;
  return now - drift.at < RECENT_MS
    ? {
        status: "True",
        reason: "Drift",
        message: `changed behind the agent's back and repaired at ${message}`,
      }
    : { status: "False", reason: "NoRecentDrift", message: `last repaired at ${message}` };
}

function judgeSnapshot({ snapshot }: ConfigState): Finding | undefined {
  const earlier = snapshot.refused ?? "";
  switch (snapshot.state) {
    case "none":
      return snapshot.refused ? { status: "False", reason: "Refused", message: earlier } : undefined;
    case "saved":
      return { status: "True", reason: "Saved", message: earlier && `at the agent's start: ${earlier}` };
    case "unsaved":
      return { status: "False", reason: "NotSaved", message: snapshot.message };
  }
}

function judgeStore({ reachable, outage }: StoreContact, now: number): Finding | undefined {
  if (reachable === undefined) return undefined;
  if (!reachable) return { status: "False", reason: "Unreachable", message: outage?.message ?? "" };
  if (outage?.to === undefined || now - outage.to >= RECENT_MS) {
    return { status: "True", reason: "Reachable", message: "" };
  }
  const seconds = Math.round((outage.to - outage.from) / 1000);
  const message = `was unreachable for ${seconds} s until ${iso(outage.to)}: ${outage.message}`;
  return { status: "True", reason: "ReachableAgain", message };
}

/** Numbers that change with the traffic are no part of the message: it would be written anew all the time. */
function judgeSessions({ measured }: Observation): Finding | undefined {
  if (!measured) return undefined;
  const { used, capacity } = measured.sessions;
  const remedy = `make the table larger (natto agent --max-sessions), or give the gateways lower limits.sessionsPerEndpoint or shorter timeouts`;
  if (used >= capacity) {
    const message = `all ${capacity} entries of the session table are in use: new flows are refused (drop_table_full), established ones go on; ${remedy}`;
    return { status: "True", reason: "TableFull", message };
  }
  if (used >= PRESSURE_FROM * capacity) {
    const percent = 100 * PRESSURE_FROM;
    const message = `more than ${percent} % of the ${capacity} entries of the session table are in use; ${remedy}`;
    return { status: "True", reason: "TableNearlyFull", message };
  }
  return { status: "False", reason: "EnoughRoom", message: "" };
}

function judgeRunning({ stopping }: Observation): Finding {
  return stopping
    ? {
        status: "False",
        reason: "Stopped",
        message: "the agent was stopped; the node goes on forwarding as it is",
      }
    : { status: "True", reason: "Running", message: "" };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
