/** Who owns which slots of a public address, and their ports, compressed for people. Pure. */
import { NOBODY, type PlacedAddress, type Placement } from "../model/placement.ts";
import { type PortRange, slotPorts } from "../model/slots.ts";

/** Shown where a node's name would be, when there is none. */
export const NOBODY_TEXT = "(nobody)";

export interface OwnedSlots {
  /** A node's name, or `NOBODY_TEXT`. */
  readonly owner: string;
  /** Ascending. */
  readonly slots: readonly number[];
}

/** The slots of one address of a placement by owner, in the order of the placement's nodes; nobody's come first. */
export function slotsByOwner(placement: Placement, placed: PlacedAddress): OwnedSlots[] {
  const slots = new Map<number, number[]>();
  for (const [slot, owner] of placed.owners.entries()) {
    const before = slots.get(owner);
    if (before) before.push(slot);
    else slots.set(owner, [slot]);
  }
  return [...slots]
    .sort(([a], [b]) => a - b)
    .map(([owner, own]) => ({ owner: nodeName(placement, owner), slots: own }));
}

/** The name of the node with this index in the placement, or `NOBODY_TEXT`. */
export function nodeName({ spec }: Placement, index: number = NOBODY): string {
  return spec.nodes[index] ?? NOBODY_TEXT;
}

/** The ports of some slots of one address, ascending, with adjacent slots merged into one range. */
export function mergedPorts(slots: readonly number[], portsPerSlot: number): PortRange[] {
  const ranges: PortRange[] = [];
  for (const slot of [...slots].sort((a, b) => a - b)) {
    const ports = slotPorts(slot, portsPerSlot);
    const before = ranges.at(-1);
    if (before && before.last >= ports.first - 1) ranges[ranges.length - 1] = { ...before, last: ports.last };
    else ranges.push(ports);
  }
  return ranges;
}

export function formatRange({ first, last }: PortRange): string {
  return `${first}-${last}`;
}
