/** NatGateway: which inside sources leave through how many public addresses, over how many nodes, with which behaviour. */
import { z } from "zod";
import { allocationFault, allocationSchema } from "./allocation.ts";
import { cidrField, integerField, nameField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";
import {
  behaviourFields,
  DEFAULT_HOLD_DOWN_SECONDS,
  HOLD_DOWN_FIELD,
  looserThanMapping,
} from "./nat-behaviour.ts";
import { sessionLoggingField } from "./session-logging.ts";
import { isSlotSize, PORTS_PER_ADDRESS } from "./slots.ts";

export const MAX_ADDRESSES_PER_GATEWAY = 64;

/** Condition of a gateway whose every slot has an owner. */
export const GATEWAY_READY = "Ready";
/** Condition of a gateway that can be planned at all; False when it contradicts another object. */
export const GATEWAY_ACCEPTED = "Accepted";

export const portsPerSlotField = z
  .number()
  .refine(
    isSlotSize,
    `does not cut ${PORTS_PER_ADDRESS} ports into equal slots of at least 64; choose a divisor such as 256, 512, 1024, 3072 or 9216`,
  );

const specSchema = z
  .strictObject({
    cell: nameField,
    /** Inside addresses that this gateway serves. No two gateways of a cell may serve the same address. */
    sources: z
      .array(cidrField)
      .min(1, "is empty; list at least one CIDR block")
      .max(1024, "has more than 1024 blocks; merge adjacent ones"),
    addresses: z.strictObject({
      pool: nameField,
      count: integerField(1, MAX_ADDRESSES_PER_GATEWAY).default(1),
    }),
    /** Over how many nodes the gateway's slots are spread, at most. */
    shard: z.strictObject({ size: integerField(1, 64).default(8) }).default({ size: 8 }),
    ports: z
      .strictObject({
        perSlot: portsPerSlotField.default(1024),
        /** How long a port that took packets from anybody rests before another endpoint gets it (RFC 6888 REQ-8). */
        holdDownSeconds: HOLD_DOWN_FIELD.default(DEFAULT_HOLD_DOWN_SECONDS),
      })
      .prefault({}),
    /** Which ports an endpoint's flows may have. */
    allocation: allocationSchema.prefault({ method: "Hashed" }),
    /** What is written down to answer later who held an address and port; see docs/observability.md. */
    log: sessionLoggingField,
    ...behaviourFields,
  })
  .superRefine((spec, ctx) => {
    const misfit = allocationFault(spec);
    if (misfit) {
      const path = ["allocation", "portsPerEndpoint"];
      ctx.addIssue({ code: "custom", path, message: misfit, input: spec.allocation });
    }
    for (const protocol of looserThanMapping(spec)) {
      const mapping = spec.mapping[protocol];
      ctx.addIssue({
        code: "custom",
        path: ["filtering", protocol],
        message: `is looser than the mapping (${mapping}): an endpoint would answer what the filter lets in from another public port; use ${mapping}, or loosen mapping.${protocol}`,
        input: spec.filtering[protocol],
      });
    }
  });

export const natGatewaySchema = objectSchema(
  "NatGateway",
  specSchema,
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    addresses: z.array(z.string()).default([]),
    /** The nodes of the shard and how many slots each owns. */
    owners: z.record(z.string(), z.number().int()).default({}),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type NatGateway = z.output<typeof natGatewaySchema>;
