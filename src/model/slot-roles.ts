/**
 * What each slot of an address is to one node: whose turn a packet is, whose the ports are, and which ports the node gives to new flows.
 * docs/dataplane.md ("Whose turn it is") says what follows from it; docs/moves.md how a move goes.
 */
import type { GatewayConfig } from "./node-config.ts";
import { NOBODY, type PlacedAddress } from "./placement.ts";

/** Nodes are indices into the shard's `nodes`, or NOBODY. */
export interface SlotRoles {
  readonly owner: number;
  readonly backup: number;
  /** Of a slot in a move: who may know flows that the owner does not. */
  readonly previous: number;
  /** Who has the slot's ports: sessions in them are nobody else's. */
  readonly holder: number;
  /** The slot of the same address whose ports the node gives to new flows of this one; NOBODY = it can take none. */
  readonly standIn: number;
}

/**
 * The roles of all slots of an address of a gateway, in order. `node` is the one that asks. A node takes new flows of a slot whose ports are not
 * (yet) its own with ports of a slot that is its own for good: so no port ever has two holders.
 *
 * With deterministic allocation no other slot can stand in: the ports of an endpoint lie in one slot and nowhere else.
 *
 * `returning`: the node was away, so its backups may know flows of its slots.
 */
export function slotRoles(
  placed: PlacedAddress,
  { nodes, allocation }: Pick<GatewayConfig, "nodes" | "allocation">,
  node: string,
  returning = false,
): readonly SlotRoles[] {
  const { owners, backups } = placed;
  const self = nodes.indexOf(node);
  const moves = new Map((placed.moves ?? []).map((move) => [move.slot, move]));
  const isSettled = (slot: number): boolean => (moves.get(slot)?.phase ?? "settled") === "settled";
  const own = owners.flatMap((owner, slot) => (owner === self && isSettled(slot) ? [slot] : []));
  const canLend = allocation.method === "Hashed";
  const lend = (slot: number): number => (canLend ? own[slot % own.length] : undefined) ?? NOBODY;
  return owners.map((owner, slot): SlotRoles => {
    const backup = backups[slot] ?? NOBODY;
    const move = moves.get(slot);
    const previous = move?.from ?? (returning && owner === self ? backup : NOBODY);
    const holder = move?.phase === "shared" ? move.from : owner;
    const mine = owner === self && isSettled(slot);
    const borrowed = lend(slot);
    const holdsOn = borrowed === NOBODY && holder === self && owner !== self;
    return { owner, backup, previous, holder, standIn: mine || holdsOn ? slot : borrowed };
  });
}
