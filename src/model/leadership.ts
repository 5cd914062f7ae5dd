/**
 * Leadership: who leads a group of processes of which one works at a time, under the group's name. Its generation is the term: each
 * new leader writes its spec, and the leader's writes are fenced by uid and generation (`Fence` in `store/store.ts`). The leader
 * renews only the status. As with the Lease of a node, whoever waits compares `renewals` by its own clock.
 */
import { z } from "zod";
import { objectSchema } from "./meta.ts";

export const leadershipSchema = objectSchema(
  "Leadership",
  z.strictObject({
    /** The process that leads, for people too; empty: given up. Every start of a process has a name of its own. */
    holder: z.string().max(253),
    /** How long the holder may be silent before another takes over. */
    ttlMs: z.number().int().min(100).max(3_600_000),
    /** For people: when the term began, by the holder's clock (RFC 3339). */
    since: z.string(),
  }),
  z.strictObject({
    /** Grows while the holder lives. */
    renewals: z.number().int(),
    /** For people: when the holder wrote it, by its own clock (RFC 3339). */
    renewedAt: z.string(),
  }),
);

export type Leadership = z.output<typeof leadershipSchema>;

/** How long a holder may be silent, unless it is told otherwise. */
export const DEFAULT_TTL_MS = 5_000;
