/**
 * The fleet: the nodes of one cell as the planner sees them. Everything that depends on what an agent reports or on who is
 * alive is decided here; the rest of the planner knows only standings, weights and zones.
 */
import { isDeepStrictEqual } from "node:util";
import type { MemberState, Members } from "../membership/membership.ts";
import { type GatewayNode, NODE_READY, ZONE_LABEL } from "../model/gateway-node.ts";
import type { NodeRouting } from "../model/routing.ts";
import { hashText } from "./rendezvous.ts";

/**
 * - `eligible`: may own slots and be given new ones.
 * - `holding`: keeps exactly the slots that it has.
 * - `out`: owns nothing.
 */
export type Standing = "eligible" | "holding" | "out";

export interface FleetNode {
  readonly name: string;
  readonly address: string;
  readonly interfaces: GatewayNode["spec"]["interfaces"];
  readonly routing: NodeRouting | undefined;
  /** Index of its zone among the zones of its cell. */
  readonly zone: number;
  readonly weight: number;
  readonly standing: Standing;
  /** It is `out` because it is drained, and works: what it has can be handed over in peace. */
  readonly leaving: boolean;
  readonly hash: number;
}

export interface Fleet {
  readonly cell: string;
  /** All nodes of the cell, by name in ascending order. */
  readonly nodes: readonly FleetNode[];
  readonly byName: ReadonlyMap<string, FleetNode>;
  readonly eligibleCount: number;
  /** The zones by index. */
  readonly zones: readonly Zone[];
}

/** The eligible nodes of a zone, by name in ascending order. */
export interface Zone {
  readonly nodes: readonly FleetNode[];
  /** Their hashes and weights, side by side: these are gone through for every gateway. */
  readonly hashes: Uint32Array;
  readonly weights: Float64Array;
}

/** What a node may own, by its own declaration, by what its agent reports and by who sees it. */
export function standingOf(node: GatewayNode, state: MemberState | undefined): Standing {
  if (node.spec.drain || node.spec.weight === 0) return "out";
  if (state === undefined || state === "gone") return "out";
  if (state === "unmanaged") return "holding";
  const ready = node.status?.conditions.find((c) => c.type === NODE_READY)?.status;
  if (ready === "True") return "eligible";
  return ready === "False" ? "out" : "holding";
}

/** Its operator wants it to own slots. */
function isWanted({ spec }: GatewayNode): boolean {
  return !spec.drain && spec.weight > 0;
}

function isLeaving(node: GatewayNode, state: MemberState | undefined): boolean {
  const wanted = { ...node, spec: { ...node.spec, drain: false, weight: 1 } };
  return standingOf(node, state) === "out" && standingOf(wanted, state) !== "out";
}

/**
 * Builds the fleet of a cell out of its nodes (in any order). If no node is eligible, all hold what they
 * have: news that nobody is left is no reason to take slots from anyone (fail static), and from a node that is drained somebody may soon be able to
 * take them over (make before break). Only when none is left that its operator wants to own slots, drained nodes own none. Returns `before` itself
 * when nothing that matters has changed.
 */
export function buildFleet(
  cell: string,
  declared: readonly GatewayNode[],
  members: Members,
  before: Fleet | undefined,
): Fleet {
  const sorted = declared.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const standings = sorted.map((node) => standingOf(node, members.get(node.metadata.name)));
  const stranded = !standings.includes("eligible") && sorted.some(isWanted);
  const zoneIndex = indexZones(sorted);
  const nodes = sorted.map((node, i) => {
    const fresh: FleetNode = {
      name: node.metadata.name,
      address: node.spec.address,
      interfaces: node.spec.interfaces,
      routing: node.spec.routing,
      zone: zoneIndex.get(zoneName(node))!,
      weight: node.spec.weight,
      standing: stranded ? "holding" : standings[i]!,
      leaving: isLeaving(node, members.get(node.metadata.name)),
      hash: hashText(node.metadata.name),
    };
    const known = before?.byName.get(fresh.name);
    return known && sameNode(known, fresh) ? known : fresh;
  });
  if (before?.nodes.length === nodes.length && nodes.every((node, i) => node === before.nodes[i]))
    return before;
  const eligible = nodes.filter((node) => node.standing === "eligible");
  const zones = Array.from({ length: zoneIndex.size }, (_, zone) =>
    makeZone(eligible.filter((node) => node.zone === zone)),
  );
  return {
    cell,
    nodes,
    byName: new Map(nodes.map((node) => [node.name, node])),
    eligibleCount: eligible.length,
    zones,
  };
}

function makeZone(nodes: readonly FleetNode[]): Zone {
  return {
    nodes,
    hashes: Uint32Array.from(nodes, (node) => node.hash),
    weights: Float64Array.from(nodes, (node) => node.weight),
  };
}

function zoneName(node: GatewayNode): string {
  return node.metadata.labels[ZONE_LABEL] ?? "";
}

function indexZones(nodes: readonly GatewayNode[]): ReadonlyMap<string, number> {
  const names = [...new Set(nodes.map(zoneName))].sort();
  return new Map(names.map((name, index) => [name, index]));
}

function sameNode(a: FleetNode, b: FleetNode): boolean {
  return (
    a.address === b.address &&
    a.zone === b.zone &&
    a.weight === b.weight &&
    a.standing === b.standing &&
    a.leaving === b.leaving &&
    a.interfaces.inside === b.interfaces.inside &&
    a.interfaces.outside === b.interfaces.outside &&
    isDeepStrictEqual(a.routing, b.routing)
  );
}

/** How a cell's fleet differs from an earlier one, as far as it matters to shards and slots. */
export interface FleetChange {
  /** Names of nodes that came, went, or changed standing, weight or zone. */
  readonly changed: ReadonlySet<string>;
  /** Whether one of them may be given slots now: then it may be the better choice anywhere. */
  readonly gained: boolean;
}

export function compareFleets(before: Fleet, after: Fleet): FleetChange {
  const changed = new Set<string>();
  let gained = false;
  for (const node of after.nodes) {
    const known = before.byName.get(node.name);
    if (
      known &&
      known.standing === node.standing &&
      known.leaving === node.leaving &&
      known.weight === node.weight &&
      known.zone === node.zone
    ) {
      continue;
    }
    changed.add(node.name);
    gained ||= node.standing === "eligible";
  }
  for (const node of before.nodes) if (!after.byName.has(node.name)) changed.add(node.name);
  return { changed, gained };
}
