/** Cell: a set of nodes behind the same fabric that know each other's slots; the outermost blast radius. */
import { z } from "zod";
import { integerField, portField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";
import { cellRoutingSchema } from "./routing.ts";

export const cellSchema = objectSchema(
  "Cell",
  z.strictObject({
    vxlan: z
      .strictObject({
        /** UDP port on which nodes take wrapped packets (RFC 7348; IANA's is 4789). */
        port: portField.default(4789),
      })
      .default({ port: 4789 }),
    membership: z
      .strictObject({
        /** A node whose heartbeat is older, and that no peer sees alive, is gone. */
        ttlSeconds: integerField(1, 300).default(3),
        /** News that more than this share of the cell's nodes vanished at once is doubted and not obeyed. */
        maxLossPercent: integerField(1, 100).default(50),
      })
      .default({ ttlSeconds: 3, maxLossPercent: 50 }),
    /** What the nodes announce to the fabric. Left out: nothing, the routes toward them are somebody else's work. */
    routing: cellRoutingSchema.optional(),
  }),
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    /** Nodes that may own slots, and all that are registered. */
    readyNodes: z.number().int().default(0),
    totalNodes: z.number().int().default(0),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type Cell = z.output<typeof cellSchema>;
