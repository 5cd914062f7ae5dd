/** Whether a node works well after it was given something new, by what it reports and by how it was before. Pure. */
import type { MemberState } from "../membership/membership.ts";
import type { RolloutSettings } from "../model/cell.ts";
import { type GatewayNode, NODE_READY } from "../model/gateway-node.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Baseline } from "../model/rollout.ts";

/** With fewer packets than this, or fewer of them dropped, a share says nothing. */
const MIN_PACKETS = 100;
const MIN_DROPS = 20;

/** Packets that a node has translated or dropped, and those of them that it has dropped, since its maps were made. */
export interface Traffic {
  readonly packets: number;
  readonly drops: number;
}

/** What is known of a node now. */
export interface NodeReport extends Traffic {
  readonly name: string;
  /** Its agent renews its heartbeat. */
  readonly alive: boolean;
  readonly draining: boolean;
  readonly ready: boolean;
  /** It runs what the store holds for it, and that is what it is to run. */
  readonly current: boolean;
  /** What it says itself to be wrong: it doubts its configuration, cannot apply it, or is not ready. */
  readonly complaints: readonly string[];
}

/** `published`: whether the stored configuration is the one that the node is to run. */
export function reportOf(
  node: GatewayNode,
  state: MemberState | undefined,
  config: NodeConfig | undefined,
  published: boolean,
): NodeReport {
  const { name } = node.metadata;
  const conditions = node.status?.conditions ?? [];
  const find = (type: string) => conditions.find((condition) => condition.type === type);
  const ready = find(NODE_READY);
  const complaints = [
    find("ConfigDoubted")?.status === "True" ? find("ConfigDoubted") : undefined,
    find("ConfigApplied")?.reason === "DataplaneFailed" ? find("ConfigApplied") : undefined,
    ready?.status === "False" ? ready : undefined,
  ].flatMap((c) => (c ? [`${c.type} is ${c.status} (${c.reason}): ${c.message}`] : []));
  return {
    name,
    alive: state === "alive",
    draining: node.spec.drain,
    ready: ready?.status === "True",
    current:
      published && config !== undefined && node.status?.applied?.generation === config.metadata.generation,
    complaints,
    ...trafficOf(node.status?.counters ?? {}),
  };
}

export function trafficOf(counters: Readonly<Record<string, number>>): Traffic {
  let drops = 0;
  for (const [name, count] of Object.entries(counters)) if (name.startsWith("drop_")) drops += count;
  const translated = (counters.translated_out ?? 0) + (counters.translated_in ?? 0);
  return { packets: translated + drops, drops };
}

/** The share of the packets between two looks that was dropped, in percent. Counters that went back began anew. */
export function dropPercent(from: Traffic, to: Traffic): number {
  const since = difference(from, to);
  return since.packets === 0 ? 0 : (100 * since.drops) / since.packets;
}

/** How a node is before a wave reaches it; `earlier` is an earlier look at its traffic. */
export function baselineOf(report: NodeReport, earlier: Traffic): Baseline {
  const { alive, ready, packets, drops } = report;
  return { alive, ready, packets, drops, dropPercent: dropPercent(earlier, report) };
}

/** What is wrong with a node that a wave has reached; undefined when nothing is known to be. A node that is being drained may do as it likes. */
export function findFault(
  report: NodeReport,
  baseline: Baseline,
  settings: RolloutSettings,
): string | undefined {
  if (report.draining) return undefined;
  if (baseline.alive && !report.alive) return `${report.name}: its agent has fallen silent`;
  const [complaint] = report.complaints;
  if (complaint !== undefined && baseline.ready) return `${report.name}: ${complaint}`;
  if (!report.current) return undefined;
  const { packets, drops } = difference(baseline, report);
  const percent = dropPercent(baseline, report);
  const limit = baseline.dropPercent + settings.maxDropRisePercent;
  if (packets < MIN_PACKETS || drops < MIN_DROPS || percent <= limit) return undefined;
  return `${report.name}: drops ${round(percent)} % of its packets (${drops} of ${packets}), before it was ${round(baseline.dropPercent)} %`;
}

function difference(from: Traffic, to: Traffic): Traffic {
  if (to.packets < from.packets || to.drops < from.drops) return { packets: to.packets, drops: to.drops };
  return { packets: to.packets - from.packets, drops: to.drops - from.drops };
}

function round(percent: number): number {
  return Math.round(percent * 10) / 10;
}
