/**
 * Rollouts, between planning and writing: what is planned goes to a few nodes first. Takes the step of every cell (`src/rollout`), and makes of
 * the plan what is to be published now.
 */
import type { Members } from "../membership/membership.ts";
import type { Cell } from "../model/cell.ts";
import { GATEWAY_READY } from "../model/nat-gateway.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Policy, RolloutSpec } from "../model/rollout.ts";
import type { NodeConfigSpec, Plan } from "../planner/plan.ts";
import type { GatewayStatus } from "../planner/statuses.ts";
import { decideRollout, type RolloutStep } from "../rollout/decide.ts";
import { reportOf } from "../rollout/health.ts";
import type { RolloutMemory } from "../rollout/memory.ts";
import { policyOf, servesAny, withPolicy } from "../rollout/policy.ts";
import { cellVerdict, gatewayVerdict, isNew, policyOfNode } from "../rollout/progress.ts";
import type { SameConfig, Stored } from "./writes.ts";

export interface Staged {
  /** The plan with the configurations that the waves allow, and with what is to be said of that in statuses. */
  readonly plan: Plan;
  /** Cell → its rollout as it is to be stored, before any configuration that follows from it. */
  readonly rollouts: ReadonlyMap<string, RolloutSpec>;
  /** Milliseconds until time alone may allow the next step; undefined when none is waited for. */
  readonly wakeMs: number | undefined;
}

export interface Moment {
  readonly members: Members;
  /** Milliseconds of a clock that never goes back. */
  readonly now: number;
  /** RFC 3339. */
  readonly time: string;
}

/** Remembers, between rounds, since when the nodes have been seen to do what. */
export function makeStaging(sameConfig: SameConfig): (plan: Plan, stored: Stored, moment: Moment) => Staged {
  let memories: ReadonlyMap<string, RolloutMemory> = new Map();
  return (plan, stored, moment) => {
    const steps = new Map<string, RolloutStep>();
    for (const site of sitesOf(plan, stored)) {
      const memory = memories.get(site.cell.metadata.name);
      steps.set(site.cell.metadata.name, stepOf(site, stored, moment, memory, sameConfig));
    }
    memories = new Map([...steps].map(([cell, { memory }]) => [cell, memory]));
    const wakes = [...steps.values()].flatMap(({ wakeMs }) => wakeMs ?? []);
    return {
      plan: stagedPlan(plan, stored, steps),
      rollouts: new Map([...steps].map(([cell, { spec }]) => [cell, spec])),
      wakeMs: wakes.length === 0 ? undefined : Math.min(...wakes),
    };
  };
}

/** A cell with nodes, and what is planned for them. */
interface Site {
  readonly cell: Cell;
  readonly specs: ReadonlyMap<string, NodeConfigSpec>;
  /** All nodes of a cell have the same gateways. */
  readonly gateways: NodeConfigSpec["gateways"];
}

function sitesOf(plan: Plan, stored: Stored): readonly Site[] {
  const specsOf = new Map<string, Map<string, NodeConfigSpec>>();
  for (const [node, spec] of plan.nodeConfigs) {
    const specs = specsOf.get(spec.cell) ?? new Map<string, NodeConfigSpec>();
    specsOf.set(spec.cell, specs.set(node, spec));
  }
  return stored.cells.flatMap((cell) => {
    const specs = specsOf.get(cell.metadata.name);
    const [first] = specs?.values() ?? [];
    return specs && first ? [{ cell, specs, gateways: first.gateways }] : [];
  });
}

function stepOf(
  { cell, specs, gateways }: Site,
  stored: Stored,
  { members, now, time }: Moment,
  memory: RolloutMemory | undefined,
  sameConfig: SameConfig,
): RolloutStep {
  const { name } = cell.metadata;
  const spec = stored.rollouts.find((rollout) => rollout.metadata.name === name)?.spec;
  const configs = new Map(stored.nodeConfigs.map((config) => [config.metadata.name, config]));
  const found = spec ? undefined : commonPolicy([...specs.keys()].flatMap((node) => configs.get(node) ?? []));
  const good = spec?.good ?? found;
  const nodes = stored.nodes.flatMap((node) => {
    const planned = specs.get(node.metadata.name);
    if (!planned) return [];
    const config = configs.get(node.metadata.name);
    const published =
      config !== undefined &&
      spec !== undefined &&
      sameConfig(config, stagedSpec(spec, node.metadata.name, planned));
    return [reportOf(node, members.get(node.metadata.name), config, published)];
  });
  const inOperation = good !== undefined && servesAny(good, gateways);
  const { rollout: settings } = cell.spec;
  const planned = policyOf(gateways);
  return decideRollout({ cell: name, settings, spec, found, planned, inOperation, nodes, memory, now, time });
}

/** The policy that most of these nodes have. */
function commonPolicy(configs: readonly NodeConfig[]): Policy | undefined {
  const counts = new Map<string, { readonly policy: Policy; count: number }>();
  for (const { spec } of configs) {
    const policy = policyOf(spec.gateways);
    const known = counts.get(policy.digest) ?? { policy, count: 0 };
    known.count++;
    counts.set(policy.digest, known);
  }
  return [...counts.values()].toSorted((a, b) => b.count - a.count)[0]?.policy;
}

function stagedSpec(spec: RolloutSpec, node: string, planned: NodeConfigSpec): NodeConfigSpec {
  return withPolicy(planned, policyOfNode(spec, node));
}

function stagedPlan(plan: Plan, stored: Stored, steps: ReadonlyMap<string, RolloutStep>): Plan {
  const nodeConfigs = new Map<string, NodeConfigSpec>();
  const gateways = new Map(plan.gateways);
  const cells = new Map(plan.cells);
  for (const [node, planned] of plan.nodeConfigs) {
    const spec = steps.get(planned.cell)?.spec;
    nodeConfigs.set(node, spec ? stagedSpec(spec, node, planned) : planned);
  }
  for (const { cell, specs, gateways: planned } of sitesOf(plan, stored)) {
    const { name, generation } = cell.metadata;
    const spec = steps.get(name)?.spec;
    const status = cells.get(name);
    if (!spec || !status) continue;
    const verdict = cellVerdict(spec, specs.size, cell.spec.rollout.paused, generation);
    cells.set(name, { ...status, conditions: [...status.conditions, verdict] });
    for (const gateway of planned) {
      const key = `${gateway.namespace}/${gateway.name}`;
      const said = gateways.get(key);
      if (said) gateways.set(key, stagedStatus(said, spec, gateway, specs.size));
    }
  }
  return { ...plan, nodeConfigs, gateways, cells };
}

/** A new gateway is not ready before all nodes know it, whoever owns its slots. */
function stagedStatus(
  status: GatewayStatus,
  spec: RolloutSpec,
  gateway: NodeConfigSpec["gateways"][number],
  total: number,
): GatewayStatus {
  const verdict = gatewayVerdict(spec, gateway, total, status.observedGeneration);
  const { reason, message } = verdict;
  const unready = verdict.status === "False" && isNew(spec, gateway);
  const conditions = status.conditions.map((condition) =>
    unready && condition.type === GATEWAY_READY
      ? { ...condition, status: "False" as const, reason, message }
      : condition,
  );
  return { ...status, conditions: [...conditions, verdict] };
}
