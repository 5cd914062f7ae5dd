/**
 * Dividing slots among the nodes of a shard by weight, moving as little as possible.
 *
 * The rule is that of Webster and Sainte-Laguë. A division is fair when no slot would be better placed elsewhere: for no two
 * nodes i, j is (c_i − ½)/w_i > (c_j + ½)/w_j, with c the slots a node has and w its weight. Of the methods of apportionment only
 * those with a divisor, as this one, are such that a node's leaving never takes a slot from another than the one that left (Balinski
 * and Young 1982: no method has that and always stays between the floor and the ceiling of the exact quota). With equal weights
 * everybody holds the floor or the ceiling of the quota; otherwise a node holds at most ½ + n·w/(2W) slots more or less than
 * its quota, n being the number of nodes and W the sum of their weights. And any part of a fair division is fair by itself, so a node that
 * keeps what it has (see `holding` in fleet.ts) disturbs nobody.
 */
import { NOBODY } from "../model/placement.ts";

/** The nodes of a shard by index, and the slots of all addresses of a gateway, address by address. */
export interface Division {
  readonly slotsPerAddress: number;
  readonly nodes: readonly { readonly name: string; readonly weight: number; readonly zone: number }[];
  /** node → its rendezvous score for the gateway, which decides ties. */
  readonly scores: readonly number[];
  /** Indices of the nodes that take part. The others keep what they have. */
  readonly members: readonly number[];
  /** slot → node, or `NOBODY`. `settle` changes it in place. */
  readonly owners: number[];
  /** slot → zone of the node that had it last, or `NOBODY`: its next owner rather stands elsewhere. */
  readonly lastZones: readonly number[];
  /** slot → node that was next in line, or `NOBODY`: its next owner rather is that one. */
  readonly heirs: readonly number[];
  /** slot → the node to which alone it may be given, `PINNED` where there is none, `NOBODY` where anybody will do. */
  readonly pinnedFor: readonly number[];
}

/** A slot whose move is not finished stays with its owner. */
export const PINNED = -2;

interface Tally {
  /** node → its slots. */
  readonly total: number[];
  /** node × addresses + address → its slots of that address. */
  readonly onAddress: number[];
  readonly addresses: number;
}

/** Gives every slot an owner among the members (if there are any) and makes the division fair. */
export function settle(division: Division): void {
  if (division.members.length === 0) return;
  const tally = count(division);
  const { owners } = division;
  for (let slot = 0; slot < owners.length; slot++) {
    if (owners[slot] === NOBODY) give(division, tally, slot, chooseHeir(division, tally, slot));
  }
  // Each move strictly improves the division; the bound only keeps a defect from becoming an endless loop.
  for (let moves = 0; moves < owners.length; moves++) {
    const receiver = neediest(division, tally);
    const donor = fullest(division, tally);
    if (!isUnfair(division, tally, donor, receiver)) return;
    const slot = chooseGift(division, tally, donor, receiver);
    // What is left are slots in moves: the division is made fair when those are over.
    if (slot === undefined) return;
    tally.total[donor]!--;
    tally.onAddress[donor * tally.addresses + addressOf(division, slot)]!--;
    give(division, tally, slot, receiver);
  }
}

function count(division: Division): Tally {
  const { owners, slotsPerAddress, nodes } = division;
  const addresses = owners.length / slotsPerAddress;
  const total = new Array<number>(nodes.length).fill(0);
  const onAddress = new Array<number>(nodes.length * addresses).fill(0);
  for (let address = 0, slot = 0; address < addresses; address++) {
    for (const end = slot + slotsPerAddress; slot < end; slot++) {
      const owner = owners[slot]!;
      if (owner === NOBODY) continue;
      total[owner]!++;
      onAddress[owner * addresses + address]!++;
    }
  }
  return { total, onAddress, addresses };
}

function addressOf(division: Division, slot: number): number {
  return Math.floor(slot / division.slotsPerAddress);
}

function give(division: Division, tally: Tally, slot: number, node: number): void {
  division.owners[slot] = node;
  tally.total[node]!++;
  tally.onAddress[node * tally.addresses + addressOf(division, slot)]!++;
}

/** Below 0 when one more slot is rather due to a than to b: (c_a + ½)/w_a < (c_b + ½)/w_b, in whole numbers. */
function compareNeed({ nodes }: Division, { total }: Tally, a: number, b: number): number {
  return (2 * total[a]! + 1) * nodes[b]!.weight - (2 * total[b]! + 1) * nodes[a]!.weight;
}

/**
 * The member to which a free slot is due. Where several are equally entitled: one in another zone than the last owner's, the
 * one next in line, one with few slots of this address, the first in the gateway's order.
 */
function chooseHeir(division: Division, tally: Tally, slot: number): number {
  const { members, nodes, lastZones, heirs } = division;
  const { onAddress, addresses } = tally;
  const lastZone = lastZones[slot];
  const heir = heirs[slot];
  const address = addressOf(division, slot);
  let best = members[0]!;
  for (let i = 1; i < members.length; i++) {
    const node = members[i]!;
    const order =
      compareNeed(division, tally, node, best) ||
      Number(nodes[node]!.zone === lastZone) - Number(nodes[best]!.zone === lastZone) ||
      Number(best === heir) - Number(node === heir) ||
      onAddress[node * addresses + address]! - onAddress[best * addresses + address]! ||
      compareRank(division, node, best);
    if (order < 0) best = node;
  }
  return best;
}

/** The gateway's own order of all nodes: below 0 when a comes before b. */
function compareRank({ nodes, scores }: Division, a: number, b: number): number {
  return scores[b]! - scores[a]! || (nodes[a]!.name < nodes[b]!.name ? -1 : 1);
}

function neediest(division: Division, tally: Tally): number {
  return division.members.reduce((best, node) => {
    const order = compareNeed(division, tally, node, best) || compareRank(division, node, best);
    return order < 0 ? node : best;
  });
}

/** The member that can best spare a slot: the greatest (c − ½)/w. */
function fullest(division: Division, { total }: Tally): number {
  const { members, nodes } = division;
  return members.reduce((best, node) => {
    const order =
      (2 * total[best]! - 1) * nodes[node]!.weight - (2 * total[node]! - 1) * nodes[best]!.weight ||
      compareRank(division, best, node);
    return order < 0 ? node : best;
  });
}

function isUnfair({ nodes }: Division, { total }: Tally, donor: number, receiver: number): boolean {
  return (
    (2 * total[donor]! - 1) * nodes[receiver]!.weight > (2 * total[receiver]! + 1) * nodes[donor]!.weight
  );
}

/**
 * Which slot the donor gives: the first of the address where it has the most and the receiver the fewest, and rather one that was the receiver's a
 * short while ago. Undefined when all of the donor's slots are pinned.
 */
function chooseGift(
  { owners, slotsPerAddress, pinnedFor }: Division,
  { onAddress, addresses }: Tally,
  donor: number,
  receiver: number,
): number | undefined {
  const surplus = (slot: number): number => {
    const address = Math.floor(slot / slotsPerAddress);
    return onAddress[donor * addresses + address]! - onAddress[receiver * addresses + address]!;
  };
  let best: number | undefined;
  for (let slot = 0; slot < owners.length; slot++) {
    const pin = pinnedFor[slot]!;
    if (owners[slot] !== donor || (pin !== NOBODY && pin !== receiver)) continue;
    if (pin === receiver) return slot;
    if (best === undefined || surplus(slot) > surplus(best)) best = slot;
  }
  return best;
}
