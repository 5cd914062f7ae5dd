/**
 * The shard: which nodes of a cell hold a gateway's slots. Chosen by zone first (the zone with the fewest of the shard's nodes is
 * next), then by rendezvous score. A node that is in stays in; places that are free are filled.
 */
import type { Fleet, FleetNode, Zone } from "./fleet.ts";
import { score, scoreBound } from "./rendezvous.ts";

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
  return fleet.zones.map((zone) => bestOf(zone, gatewayHash, size + 1));
}

function bestOf({ nodes, hashes, weights }: Zone, gatewayHash: number, depth: number): readonly Candidate[] {
  // In descending order of score. Scores stand apart from places so that nothing is made for nodes that drop out again.
  const scores: number[] = [];
  const places: number[] = [];
  for (let i = 0; i < hashes.length; i++) {
    const isFull = scores.length === depth;
    if (isFull && scoreBound(gatewayHash, hashes[i]!, weights[i]!) < scores[depth - 1]!) continue;
    const fresh = score(gatewayHash, hashes[i]!, weights[i]!);
    let at = isFull ? depth - 1 : scores.length;
    if (isFull && fresh <= scores[at]!) continue;
    for (; at > 0 && fresh > scores[at - 1]!; at--) {
      scores[at] = scores[at - 1]!;
      places[at] = places[at - 1]!;
    }
    scores[at] = fresh;
    places[at] = i;
  }
  return places.map((place, at) => ({ node: nodes[place]!, score: scores[at]! }));
}

/** Higher score first; equal scores (a collision of hashes) by name, so that the order is total. */
export function ranksBefore(a: Candidate, b: Candidate): boolean {
  return a.score > b.score || (a.score === b.score && a.node.name < b.node.name);
}

/**
 * Fills the shard up with the best candidates; `kept` are in already, and `lost` may not be chosen. A shard that is full of nodes which
 * only hold what they have gets one more, so that there is somebody to whom a free slot can be given.
 */
export function fillShard(
  candidates: Shortlist,
  kept: readonly FleetNode[],
  size: number,
  lost?: FleetNode,
): readonly FleetNode[] {
  const shard = [...kept];
  const inZone = countZones(candidates.length, kept);
  while (shard.length < size || !shard.some((node) => node.standing === "eligible")) {
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
    .map((node) => ({ node, score: score(gatewayHash, node.hash, node.weight) }))
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
