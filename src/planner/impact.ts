/** What a change would do: the difference between two plans, one without and one with it. Pure. */
import { isDeepStrictEqual } from "node:util";
import { gatewayPolicy } from "../model/node-config.ts";
import { NOBODY } from "../model/placement.ts";
import { type GatewayImpact, gatewayImpact, type PlannedGateway } from "./gateway-impact.ts";
import { ACCEPTED, keyOfObject } from "./order.ts";
import type { NodeConfigSpec, Plan, PlanInput } from "./plan.ts";

/** A plan and what it was made of. */
export interface Planned {
  readonly input: PlanInput;
  readonly plan: Plan;
}

export interface NodeImpact {
  readonly node: string;
  readonly cell: string;
  /** Slots that it gets and loses. */
  readonly gains: number;
  readonly loses: number;
  /** What changes in its configuration, such as `gateway team/web: slots`. */
  readonly changes: readonly string[];
}

export interface CellImpact {
  readonly cell: string;
  /** The share of the cell's ports whose flows could break, in percent. */
  readonly percent: number;
}

export interface Impact {
  readonly nodes: readonly NodeImpact[];
  readonly gateways: readonly GatewayImpact[];
  readonly cells: readonly CellImpact[];
  /** Gateways that would be set aside, and why. */
  readonly rejected: readonly { readonly gateway: string; readonly message: string }[];
  readonly movedSlots: number;
  /** The largest share of a cell. */
  readonly blastRadiusPercent: number;
}

export function impactOf(before: Planned, after: Planned): Impact {
  const was = plannedGateways(before);
  const is = plannedGateways(after);
  const keys = [...new Set([...was.keys(), ...is.keys()])].sort();
  const gateways = keys.flatMap((key) => gatewayImpact(key, was.get(key), is.get(key)) ?? []);
  const cells = cellImpacts(was, gateways);
  return {
    nodes: nodeImpacts(before.plan, after.plan),
    gateways,
    cells,
    rejected: rejections(before, after),
    movedSlots: gateways.reduce((sum, gateway) => sum + gateway.slots.affected, 0),
    blastRadiusPercent: Math.max(0, ...cells.map(({ percent }) => percent)),
  };
}

function plannedGateways({ input, plan }: Planned): ReadonlyMap<string, PlannedGateway> {
  return new Map(
    input.gateways.flatMap((gateway) => {
      const key = keyOfObject(gateway);
      const placement = plan.placements.get(key);
      return placement ? [[key, { gateway, placement }] as const] : [];
    }),
  );
}

/** Each gateway counts by its ports, and with the larger one of its two shares. */
function cellImpacts(
  was: ReadonlyMap<string, PlannedGateway>,
  gateways: readonly GatewayImpact[],
): readonly CellImpact[] {
  const impactOfKey = new Map(gateways.map((impact) => [impact.gateway, impact]));
  const sums = new Map<string, { ports: number; affected: number }>();
  for (const [key, { placement }] of was) {
    const sum = sums.get(placement.cell) ?? { ports: 0, affected: 0 };
    sums.set(placement.cell, sum);
    const slots = placement.addresses.reduce((count, { owners }) => count + owners.length, 0);
    const ports = slots * placement.portsPerSlot;
    sum.ports += ports;
    sum.affected += (ports * (impactOfKey.get(key)?.percent ?? 0)) / 100;
  }
  return [...sums]
    .map(([cell, { ports, affected }]) => ({ cell, percent: ports === 0 ? 0 : (100 * affected) / ports }))
    .sort((a, b) => (a.cell < b.cell ? -1 : 1));
}

function nodeImpacts(before: Plan, after: Plan): readonly NodeImpact[] {
  const names = [...new Set([...before.nodeConfigs.keys(), ...after.nodeConfigs.keys()])].sort();
  return names.flatMap((node) => {
    const was = before.nodeConfigs.get(node);
    const is = after.nodeConfigs.get(node);
    const changes = configChanges(was, is);
    if (changes.length === 0) return [];
    const had = slotsOf(node, was);
    const has = slotsOf(node, is);
    const gains = [...has].filter((slot) => !had.has(slot)).length;
    const loses = [...had].filter((slot) => !has.has(slot)).length;
    return [{ node, cell: (is ?? was)?.cell ?? "", gains, loses, changes }];
  });
}

function configChanges(was: NodeConfigSpec | undefined, is: NodeConfigSpec | undefined): readonly string[] {
  if (!was || !is) return [is ? "its first configuration" : "its configuration goes"];
  const { gateways: _, ...rest } = was;
  const { gateways: __, ...restNow } = is;
  const fields = Object.keys({ ...rest, ...restNow });
  const changed = fields.filter(
    (field) => !isDeepStrictEqual(Reflect.get(rest, field), Reflect.get(restNow, field)),
  );
  return [...changed, ...gatewayChanges(was, is)];
}

function gatewayChanges(was: NodeConfigSpec, is: NodeConfigSpec): readonly string[] {
  const name = (gateway: NodeConfigSpec["gateways"][number]) => `${gateway.namespace}/${gateway.name}`;
  const known = new Map(was.gateways.map((gateway) => [name(gateway), gateway]));
  const now = new Map(is.gateways.map((gateway) => [name(gateway), gateway]));
  const changes: string[] = [];
  for (const [key, gateway] of known) {
    const next = now.get(key);
    if (!next) changes.push(`gateway ${key}: goes`);
    else if (!isDeepStrictEqual(next, gateway)) {
      const settings = gatewayPolicy(next);
      const samePolicy = isDeepStrictEqual(gatewayPolicy(gateway), settings);
      const sameSlots = isDeepStrictEqual({ ...gateway, ...settings }, next);
      const what = [...(samePolicy ? [] : ["settings"]), ...(sameSlots ? [] : ["slots"])];
      changes.push(`gateway ${key}: ${what.join(", ")}`);
    }
  }
  for (const key of now.keys()) if (!known.has(key)) changes.push(`gateway ${key}: new`);
  return changes;
}

function slotsOf(node: string, spec: NodeConfigSpec | undefined): ReadonlySet<string> {
  const slots = new Set<string>();
  for (const { nodes, addresses, portsPerSlot } of spec?.gateways ?? []) {
    const own = nodes.indexOf(node);
    if (own === NOBODY) continue;
    for (const { address, owners } of addresses) {
      owners.forEach((owner, slot) => {
        if (owner === own) slots.add(`${address} ${portsPerSlot} ${slot}`);
      });
    }
  }
  return slots;
}

function rejections(before: Planned, after: Planned): Impact["rejected"] {
  const reason = ({ plan }: Planned, key: string) => {
    const found = plan.gateways.get(key)?.conditions.find(({ type }) => type === ACCEPTED);
    return found?.status === "False" ? found.message : undefined;
  };
  return [...after.plan.gateways.keys()].flatMap((gateway) => {
    const message = reason(after, gateway);
    return message !== undefined && message !== reason(before, gateway) ? [{ gateway, message }] : [];
  });
}
