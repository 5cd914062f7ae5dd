/**
 * Placement: which node owns which slot of a gateway, and who is next in line. The planner writes one for each NatGateway,
 * under its namespace and name; it is also the planner's memory, which is what makes planning sticky.
 */
import { z } from "zod";
import { addressField, nameField } from "./fields.ts";
import { objectSchema } from "./meta.ts";
import { portsPerSlotField } from "./nat-gateway.ts";

/** In `owners` and `backups`: nobody. */
export const NOBODY = -1;

/**
 * The phases of a slot's move, in order. They are turned by the planner alone, so all that a move is lies in the Placement:
 * - `shared`: new flows are the owner's; the ports, and the flows in them, are still the previous owner's.
 * - `clearing`: the previous owner lets go of the ports; the owner does not use them yet.
 * - `settled`: the ports are the owner's. The previous one may still know flows of the slot's endpoints, in ports of its own.
 */
export const MOVE_PHASES = ["shared", "clearing", "settled"] as const;

export const slotMoveSchema = z.strictObject({
  slot: z.number().int().min(0),
  /** The previous owner, as an index into `nodes`. */
  from: z.number().int().min(0),
  phase: z.enum(MOVE_PHASES),
  /** When the phase began, and when it ends at the latest by what is declared now; by the clock of the controller (RFC 3339). */
  since: z.string(),
  until: z.string(),
});

export type SlotMove = z.output<typeof slotMoveSchema>;

export const placedAddressSchema = z.strictObject({
  address: addressField,
  /** owners[slot] is the owner's index in the shard's `nodes`. */
  owners: z.array(z.number().int()),
  /** backups[slot] is the next in line: who gets the slot when its owner is gone. */
  backups: z.array(z.number().int()),
  /** The slots that moved a short while ago, in ascending order. */
  moves: z.array(slotMoveSchema).optional(),
});

export type PlacedAddress = z.output<typeof placedAddressSchema>;

export const placementSchema = objectSchema(
  "Placement",
  z.strictObject({
    cell: nameField,
    pool: nameField,
    portsPerSlot: portsPerSlotField,
    /** The nodes that `owners`, `backups` and `moves` refer to: the shard, who would replace one of it, and who had slots before. */
    nodes: z.array(nameField),
    addresses: z.array(placedAddressSchema),
  }),
  z.strictObject({}),
);

export type Placement = z.output<typeof placementSchema>;
