/** Who is what for a slot, by a placement or by the configuration of a machine. */
import type { PlacedAddress, SlotMove } from "../../src/model/placement.ts";

export interface Roles {
  /** New flows are its business. */
  readonly owner: string | undefined;
  /** It may give out the slot's ports; undefined: nobody may. */
  readonly holder: string | undefined;
  readonly backup: string | undefined;
  /** Of a slot in a move: who had it before, and how far the move is. */
  readonly previous: string | undefined;
  readonly phase: SlotMove["phase"] | undefined;
}

/** `gateway address/slot` → its roles. */
export function rolesIn(
  gateway: string,
  { nodes, addresses }: { readonly nodes: readonly string[]; readonly addresses: readonly PlacedAddress[] },
): ReadonlyMap<string, Roles> {
  const roles = new Map<string, Roles>();
  for (const { address, owners, backups, moves = [] } of addresses) {
    const moving = new Map(moves.map((move) => [move.slot, move]));
    for (const [slot, index] of owners.entries()) {
      const owner = nodes[index];
      const move = moving.get(slot);
      const between = move?.phase === "clearing" ? undefined : nodes[move?.from ?? index];
      const holder = move && move.phase !== "settled" ? between : owner;
      const backup = nodes[backups[slot] ?? -1];
      const previous = nodes[move?.from ?? -1];
      roles.set(`${gateway} ${address}/${slot}`, { owner, holder, backup, previous, phase: move?.phase });
    }
  }
  return roles;
}
