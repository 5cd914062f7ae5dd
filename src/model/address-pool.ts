/** AddressPool: public CIDR blocks that gateways may take addresses from. Every address of a block is usable. */
import { z } from "zod";
import { cidrField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";

export const addressPoolSchema = objectSchema(
  "AddressPool",
  z.strictObject({
    cidrs: z
      .array(cidrField)
      .min(1, "is empty; list at least one CIDR block")
      .max(256, "has more than 256 blocks; merge adjacent ones or make another pool"),
  }),
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    total: z.number().int().default(0),
    allocated: z.number().int().default(0),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type AddressPool = z.output<typeof addressPoolSchema>;
