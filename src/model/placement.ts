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

export const placedAddressSchema = z.strictObject({
  address: addressField,
  /** owners[slot] is the owner's index in the shard's `nodes`. */
  owners: z.array(z.number().int()),
  /** backups[slot] is the next in line: who gets the slot when its owner is gone. */
  backups: z.array(z.number().int()),
});

export type PlacedAddress = z.output<typeof placedAddressSchema>;

export const placementSchema = objectSchema(
  "Placement",
  z.strictObject({
    cell: nameField,
    pool: nameField,
    portsPerSlot: portsPerSlotField,
    /** The nodes that `owners` and `backups` refer to: the shard, and who would replace one of it. */
    nodes: z.array(nameField),
    addresses: z.array(placedAddressSchema),
  }),
  z.strictObject({}),
);

export type Placement = z.output<typeof placementSchema>;
