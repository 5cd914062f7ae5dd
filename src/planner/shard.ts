/**
 * The shard: which nodes of a cell hold a gateway's slots. Chosen by zone first (the zone with the fewest of the shard's nodes is
 * next), then by rendezvous score. A node that is in stays in; places that are free are filled.
 */
import type { Fleet, FleetNode } from "./fleet.ts";
import { score } from "./rendezvous.ts";

export interface Candidate {
  readonly node: FleetNode;
  readonly score: number;
}

/** zone → its best eligible nodes for one gateway, best first. */
export type Shortlist = readonly (readonly Candidate[])[];

/**
 * The candidates that can matter when up to `size` nodes are chosen and one of them is lost: of each zone the best `size` + 1.
 * One pass over the fleet, so that all choices after it cost next to nothing.
 */
export function shortlist(fleet: Fleet, gatewayHash: number, size: number): Shortlist {
  const depth = size + 1;
  return fleet.zones.map((nodes) => {
    const best: Candidate[] = [];
    for (const node of nodes) {
      const candidate = { node, score: score(gatewayHash, node) };
      if (best.length === depth) {
        if (!ranksBefore(candidate, best[depth - 1]!)) continue;
        best.pop();
      }
      let at = best.length;
      while (at > 0 && ranksBefore(candidate, best[at - 1]!)) at--;
      best.splice(at, 0, candidate);
    }
    return best;
  });
}

/** Higher score first; equal scores (a collision of hashes) by name, so that the order is total. */
export function ranksBefore(a: Candidate, b: Candidate): boolean {
  return a.score > b.score || (a.score === b.score && a.node.name < b.node.name);
}

/** Fills the shard up with the best candidates; `kept` are in already, and `lost` may not be chosen. */
export function fillShard(
  candidates: Shortlist,
  kept: readonly FleetNode[],
  size: number,
  lost?: FleetNode,
): readonly FleetNode[] {
  const shard = [...kept];
  const inZone = countZones(candidates.length, kept);
  while (shard.length < size) {
    let best: Candidate | undefined;
    for (const zone of candidates) {
      const next = zone.find(({ node }) => node !== lost && !shard.includes(node));
      if (!next) continue;
      const emptier = best ? inZone[next.node.zone]! - inZone[best.node.zone]! : -1;
      if (emptier < 0 || (emptier === 0 && best && ranksBefore(next, best))) best = next;
    }
    if (!best) break;
    shard.push(best.node);
    inZone[best.node.zone]!++;
  }
  return shard;
}

/**
 * Takes nodes out of a shard that is larger than `size`: from the fullest zone, the lowest score first. Nodes that hold what they
 * have are not taken out.
 */
export function trimShard(
  kept: readonly FleetNode[],
  size: number,
  gatewayHash: number,
  zones: number,
): readonly FleetNode[] {
  if (kept.length <= size) return kept;
  const inZone = countZones(zones, kept);
  const removable = kept
    .filter((node) => node.standing === "eligible")
    .map((node) => ({ node, score: score(gatewayHash, node) }))
    .sort((a, b) => (ranksBefore(a, b) ? 1 : -1));
  const removed = new Set<FleetNode>();
  while (kept.length - removed.size > size && removed.size < removable.length) {
    const left = removable.filter(({ node }) => !removed.has(node));
    const fullest = left.reduce((a, b) => (inZone[b.node.zone]! > inZone[a.node.zone]! ? b : a));
    removed.add(fullest.node);
    inZone[fullest.node.zone]!--;
  }
  return kept.filter((node) => !removed.has(node));
}

function countZones(zones: number, nodes: readonly FleetNode[]): Int32Array {
  const counts = new Int32Array(zones);
  for (const node of nodes) counts[node.zone]!++;
  return counts;
}
