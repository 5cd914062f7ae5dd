/** FloatingAddress: a whole public address that is one inside host's, in both directions. */
import { z } from "zod";
import { addressField, nameField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";

export const floatingAddressSchema = objectSchema(
  "FloatingAddress",
  z.strictObject({
    cell: nameField,
    /** The AddressPool that the public address is from. */
    pool: nameField,
    /** Which one; left out: the lowest that is free, and it stays. */
    address: addressField.optional(),
    /** The host that has it: what comes in on the address goes there, and all that the host sends goes out on it. */
    inside: addressField,
  }),
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    /** The public address; also the planner's memory of which one it gave. */
    address: z.string().optional(),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type FloatingAddress = z.output<typeof floatingAddressSchema>;
