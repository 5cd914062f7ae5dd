/**
 * What Consul's catalogue says about the nodes, and what is made of it. Pure.
 *
 * Each node is an instance of one service, whose checks its own agent keeps: `agent` (a heartbeat: passing while it is renewed) and others that
 * say how the node is. While the agent speaks, the worst of the others counts: critical, it does not forward and is given no slots; warning, it
 * keeps what it has. When the agent is silent, or Consul's own agent on that machine is, the other checks are old news, and the peers decide.
 *
 * Consul passes checks on one by one and in any order. So a check that is critical because nobody has spoken (it is new, or it ran out, which of an agent
 * that has died may be seen before the end of its heartbeat) is told from one of which the agent says so: only the agent's own words take slots away.
 */
import { z } from "zod";
import { type Observations, seenByPeers } from "./judgement.ts";
import type { MemberState, Members } from "./membership.ts";

/** The check that is a heartbeat. */
export const AGENT_CHECK = "agent";

export const CHECK_STATES = ["passing", "warning", "critical"] as const;
export type CheckState = (typeof CHECK_STATES)[number];

/** The instance of a node: `SERVICE-NODE`, and so unique in Consul's agent even if that serves several. */
export function instanceId(service: string, node: string): string {
  return `${service}-${node}`;
}

/** The identifier of one of an instance's checks. */
export function checkId(instance: string, check: string): string {
  return `${instance}:${check}`;
}

/** An answer of `/v1/health/service/NAME`, as far as it matters. */
export const healthSchema = z.array(
  z.object({
    Service: z.object({ ID: z.string(), Meta: z.record(z.string(), z.string()).nullish() }),
    Checks: z
      .array(z.object({ CheckID: z.string(), Status: z.string(), Output: z.string().default("") }))
      .nullish(),
  }),
);

/** What an instance says about its node. */
export interface Instance {
  readonly node: string;
  readonly cell: string;
  /** Whether its agent, and Consul's agent beside it, are heard. */
  readonly speaks: boolean;
  readonly health: CheckState;
}

/** The instances in an answer. What was registered by somebody else under the same name is passed over. */
export function instancesOf(entries: z.output<typeof healthSchema>): readonly Instance[] {
  return entries.flatMap(({ Service, Checks }) => {
    const { node, cell } = Service.Meta ?? {};
    if (node === undefined || cell === undefined) return [];
    const checks = new Map((Checks ?? []).map((check) => [check.CheckID, check]));
    const own = [...checks].filter(([id]) => id.startsWith(checkId(Service.ID, "")));
    const agent = checkId(Service.ID, AGENT_CHECK);
    const machine = checks.get("serfHealth")?.Status ?? "passing";
    const maintained = checks.has("_node_maintenance") || checks.has(`_service_maintenance:${Service.ID}`);
    const states = own.filter(([id]) => id !== agent).map(([, check]) => stateOf(check));
    const speaks = machine === "passing" && checks.get(agent)?.Status === "passing";
    return [{ node, cell, speaks, health: worst([...states, ...(maintained ? ["warning"] : [])]) }];
  });
}

function stateOf({ Status, Output }: { readonly Status: string; readonly Output: string }): string {
  const unsaid = Output === "" || Output.startsWith("TTL expired");
  return Status === "critical" && unsaid ? "warning" : Status;
}

function worst(states: readonly string[]): CheckState {
  return CHECK_STATES.findLast((state) => states.includes(state)) ?? "passing";
}

const STATE_OF: Readonly<Record<CheckState, MemberState>> = {
  passing: "alive",
  warning: "unmanaged",
  critical: "gone",
};
const BEST_FIRST: readonly MemberState[] = ["alive", "unmanaged", "gone"];

export interface CatalogueInput {
  readonly instances: readonly Instance[];
  /** What the peers say of each other. */
  readonly observations: Observations;
  /** Whether the word of this node is fresh enough to count. */
  readonly isHeard: (node: string) => boolean;
  /** Consul has just come back and may not know everybody again: silence means nothing yet. */
  readonly settling: boolean;
}

/** Who is alive, of all nodes that are registered or have a Lease. */
export function judgeCatalogue({ instances, observations, isHeard, settling }: CatalogueInput): Members {
  const members = new Map<string, MemberState>();
  const cells = new Map<string, string>();
  const speaking = new Set<string>();
  for (const [node, { cell }] of observations) cells.set(node, cell);
  for (const { node, cell, speaks, health } of instances) {
    cells.set(node, cell);
    if (!speaks) continue;
    // A node that moved to another machine may be registered twice; the better news is the newer one.
    const state = STATE_OF[health];
    const before = speaking.has(node) ? members.get(node) : undefined;
    members.set(node, BEST_FIRST.find((s) => s === state || s === before) ?? state);
    speaking.add(node);
  }
  const silent = new Set([...cells.keys()].filter((node) => !speaking.has(node)));
  const isWitness = (node: string) => speaking.has(node) && isHeard(node);
  const seen = seenByPeers(observations, silent, isWitness, (node) => cells.get(node));
  for (const node of silent) members.set(node, settling || seen.has(node) ? "unmanaged" : "gone");
  return members;
}
