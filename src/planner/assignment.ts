/** Assignment: the slots of one gateway on the nodes of one fleet, with the next in line for each slot. */
import { isDeepStrictEqual } from "node:util";
import { NOBODY, type PlacedAddress, type Placement } from "../model/placement.ts";
import { slotsPerAddress } from "../model/slots.ts";
import { type Division, PINNED, settle } from "./division.ts";
import type { Fleet, FleetNode } from "./fleet.ts";
import { score } from "./rendezvous.ts";
import { fillShard, shortlist, trimShard } from "./shard.ts";

export type PlacementSpec = Placement["spec"];

export interface AssignmentRequest {
  /** Hash of the gateway's identity: its own order of the nodes. */
  readonly gatewayHash: number;
  readonly pool: string;
  readonly portsPerSlot: number;
  readonly shardSize: number;
  readonly addresses: readonly string[];
  readonly previous: PlacementSpec | undefined;
}

export interface Assignment {
  /** The previous placement itself when nothing in it changes. */
  readonly placement: PlacementSpec;
  /** The nodes on which it depends: the shard, and all that would be taken into it if one of it were lost. */
  readonly involved: readonly FleetNode[];
  /** Slots that had an owner and now have another one or none. */
  readonly moved: number;
}

/** What is being worked on: nodes of the fleet by a local index, and the slots of all addresses in one row. */
interface Bench {
  readonly slotsPerAddress: number;
  readonly nodes: FleetNode[];
  readonly scores: number[];
  readonly indexOf: (node: FleetNode) => number;
  readonly owners: number[];
  readonly lastZones: number[];
  readonly heirs: number[];
  readonly pinnedFor: number[];
}

/** Divides the gateway's slots among its shard: see shard.ts for who is in it and division.ts for who gets how much. */
export function assign(request: AssignmentRequest, fleet: Fleet): Assignment {
  const { gatewayHash, shardSize } = request;
  const candidates = shortlist(fleet, gatewayHash, shardSize);
  const bench = layOut(request, fleet);
  const kept = trimShard(ownersOf(bench), shardSize, gatewayHash, fleet.zones.length);
  releaseOthers(bench, kept);
  const involved = occupy(bench, kept, (nodes) => fillShard(candidates, nodes, shardSize));

  const backups = nobody(bench.owners.length);
  const owners = ownersOf(bench);
  const zones = zonesOfOwners(bench);
  // Who was next in line has no say in who is: the backups follow from the owners alone, so planning again gives the same ones.
  const heirs = nobody(bench.owners.length);
  for (const lost of owners) {
    const left = { ...bench, owners: release(bench, lost), lastZones: zones, heirs };
    const rest = owners.filter((node) => node !== lost);
    involved.push(...occupy(left, rest, (nodes) => fillShard(candidates, nodes, shardSize, lost)));
    noteHeirs(bench, lost, left.owners, backups);
  }
  const placement = write(request, fleet.cell, bench, backups);
  const same = request.previous !== undefined && samePlacement(request.previous, placement);
  return {
    placement: same && request.previous ? request.previous : placement,
    involved: [...new Set(involved)],
    moved: same ? 0 : countMoves(request.previous, placement),
  };
}

/**
 * Fills the shard, beginning with `kept`, and divides all slots among it. A node that comes away without a slot is not in the shard
 * as far as anyone can see later, so its place is filled again until that changes nothing. Returns all nodes that were considered.
 */
function occupy(
  bench: Bench,
  kept: readonly FleetNode[],
  fill: (kept: readonly FleetNode[]) => readonly FleetNode[],
): FleetNode[] {
  const considered: FleetNode[] = [];
  let shard = fill(kept);
  for (let round = 0; round <= shard.length; round++) {
    considered.push(...shard);
    settle(divisionOf(bench, shard));
    const owners = ownersOf(bench);
    if (owners.length === shard.length) break;
    const next = fill(owners);
    if (next.every((node) => shard.includes(node))) break;
    shard = next;
  }
  return considered;
}

/** Puts the previous placement on the bench, as far as it still applies: slots whose owner is out are free. */
function layOut(request: AssignmentRequest, fleet: Fleet): Bench {
  const perAddress = slotsPerAddress(request.portsPerSlot);
  const slots = perAddress * request.addresses.length;
  const index = new Map<FleetNode, number>();
  const nodes: FleetNode[] = [];
  const scores: number[] = [];
  const indexOf = (node: FleetNode): number => {
    const known = index.get(node);
    if (known !== undefined) return known;
    index.set(node, nodes.length);
    scores.push(score(request.gatewayHash, node.hash, node.weight));
    return nodes.push(node) - 1;
  };
  const bench: Bench = {
    slotsPerAddress: perAddress,
    nodes,
    scores,
    indexOf,
    owners: nobody(slots),
    lastZones: nobody(slots),
    heirs: nobody(slots),
    pinnedFor: nobody(slots),
  };
  const { previous } = request;
  if (previous?.cell !== fleet.cell || previous.portsPerSlot !== request.portsPerSlot) return bench;
  const known = previous.nodes.map((name) => fleet.byName.get(name));
  const local = known.map((node) => (node && node.standing !== "out" ? indexOf(node) : NOBODY));
  const staying = known.map((node, n) => (node?.leaving ? indexOf(node) : local[n]!));
  request.addresses.forEach((address, a) => {
    const placed = previous.addresses.find((p) => p.address === address);
    if (placed?.owners.length !== perAddress) return;
    const unfinished = (placed.moves ?? []).filter((move) => move.phase !== "settled");
    const pins = new Map(unfinished.map((move) => [move.slot, move.from]));
    for (let s = 0, slot = a * perAddress; s < perAddress; s++, slot++) {
      const owner = placed.owners[s]!;
      const from = pins.get(s);
      if (from !== undefined) bench.pinnedFor[slot] = pinOf(local[from]);
      bench.owners[slot] = (from === undefined ? local[owner] : staying[owner]) ?? NOBODY;
      bench.heirs[slot] = local[placed.backups[s] ?? NOBODY] ?? NOBODY;
      if (bench.owners[slot] === NOBODY) bench.lastZones[slot] = known[owner]?.zone ?? NOBODY;
    }
  });
  return bench;
}

/** To whom a slot in a move may go: back to its previous owner, if that may own anything. */
function pinOf(previousOwner: number | undefined): number {
  return previousOwner === undefined || previousOwner === NOBODY ? PINNED : previousOwner;
}

function nobody(slots: number): number[] {
  return new Array<number>(slots).fill(NOBODY);
}

/** The nodes that own a slot, in the order of the bench. */
function ownersOf({ nodes, owners }: Bench): readonly FleetNode[] {
  const owns = nodes.map(() => 0);
  for (const owner of owners) if (owner !== NOBODY) owns[owner] = 1;
  return nodes.filter((_, i) => owns[i] === 1);
}

function releaseOthers(bench: Bench, kept: readonly FleetNode[]): void {
  const { owners, lastZones, nodes } = bench;
  owners.forEach((owner, slot) => {
    if (owner === NOBODY || kept.includes(nodes[owner]!)) return;
    owners[slot] = NOBODY;
    lastZones[slot] = nodes[owner]!.zone;
  });
}

function divisionOf(bench: Bench, shard: readonly FleetNode[]): Division {
  const members = shard.filter((node) => node.standing === "eligible").map(bench.indexOf);
  return { ...bench, members };
}

/** The owners without one node, whose slots are free. */
function release({ indexOf, owners }: Bench, lost: FleetNode): number[] {
  const loser = indexOf(lost);
  return owners.map((owner) => (owner === loser ? NOBODY : owner));
}

/**
 * Notes who has the slots of the lost node now that its loss was played through. Where nobody could inherit, whoever was next in line
 * stays so: better one that is only not known to be well than none.
 */
function noteHeirs(bench: Bench, lost: FleetNode, after: readonly number[], backups: number[]): void {
  const { owners, heirs } = bench;
  const loser = bench.indexOf(lost);
  for (let slot = 0; slot < owners.length; slot++) {
    if (owners[slot] !== loser) continue;
    const stays = after[slot] === NOBODY && heirs[slot] !== loser;
    backups[slot] = stays ? heirs[slot]! : after[slot]!;
  }
}

/** slot → zone of its owner. */
function zonesOfOwners({ nodes, owners }: Bench): number[] {
  const zones = nobody(owners.length);
  for (let slot = 0; slot < owners.length; slot++) zones[slot] = nodes[owners[slot]!]?.zone ?? NOBODY;
  return zones;
}

function write(request: AssignmentRequest, cell: string, bench: Bench, backups: number[]): PlacementSpec {
  const used = bench.nodes.map(() => 0);
  for (const owner of bench.owners) if (owner !== NOBODY) used[owner] = 1;
  for (const backup of backups) if (backup !== NOBODY) used[backup] = 1;
  const order = bench.nodes.filter((_, n) => used[n] === 1).sort((a, b) => (a.name < b.name ? -1 : 1));
  const numbers = bench.nodes.map((node) => order.indexOf(node));
  const renumber = (row: number[], address: number): number[] => {
    const numbered: number[] = [];
    const first = address * bench.slotsPerAddress;
    for (let slot = first; slot < first + bench.slotsPerAddress; slot++) {
      numbered.push(numbers[row[slot]!] ?? NOBODY);
    }
    return numbered;
  };
  return {
    cell,
    pool: request.pool,
    portsPerSlot: request.portsPerSlot,
    nodes: order.map((node) => node.name),
    addresses: request.addresses.map((address, a) => ({
      address,
      owners: renumber(bench.owners, a),
      backups: renumber(backups, a),
    })),
  };
}

/** Whether two placements say the same. */
export function samePlacement(a: PlacementSpec, b: PlacementSpec): boolean {
  return (
    a === b ||
    (a.cell === b.cell &&
      a.pool === b.pool &&
      a.portsPerSlot === b.portsPerSlot &&
      sameList(a.nodes, b.nodes) &&
      a.addresses.length === b.addresses.length &&
      a.addresses.every((placed, i) => sameAddress(placed, b.addresses[i]!)))
  );
}

function sameAddress(a: PlacedAddress, b: PlacedAddress): boolean {
  return (
    a.address === b.address &&
    sameList(a.owners, b.owners) &&
    sameList(a.backups, b.backups) &&
    isDeepStrictEqual(a.moves ?? [], b.moves ?? [])
  );
}

export function sameList<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

/** Slots of addresses that stay which had an owner and now have another one or none. */
function countMoves(before: PlacementSpec | undefined, after: PlacementSpec): number {
  if (before?.portsPerSlot !== after.portsPerSlot) return 0;
  const earlier = new Map(before.addresses.map((placed) => [placed.address, placed.owners]));
  let moved = 0;
  for (const { address, owners } of after.addresses) {
    const previous = earlier.get(address) ?? [];
    for (let slot = 0; slot < previous.length; slot++) {
      const owner = before.nodes[previous[slot]!];
      if (owner !== undefined && owner !== after.nodes[owners[slot]!]) moved++;
    }
  }
  return moved;
}
