/**
 * Lease: the heartbeat of a node's agent, under the node's name. Whoever judges it compares `renewals` between two looks at
 * its own clock, so clocks of different machines are never compared.
 */
import { z } from "zod";
import { nameField } from "./fields.ts";
import { objectSchema } from "./meta.ts";

export const leaseSchema = objectSchema(
  "Lease",
  z.strictObject({
    cell: nameField,
    /** Grows with every heartbeat. */
    renewals: z.number().int(),
    /** For people: when the agent wrote it, by its own clock (RFC 3339). */
    renewedAt: z.string(),
    /** Peers whose dataplane answers this node's probes, whether their agent runs or not. */
    peersAlive: z.array(nameField).default([]),
    /** Where else the agent says that it lives. `consul`: this Lease is renewed seldom, its silence says little. Left out: nowhere. */
    membership: z.literal("consul").optional(),
  }),
  z.strictObject({}),
);

export type Lease = z.output<typeof leaseSchema>;
