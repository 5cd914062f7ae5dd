/**
 * Leadership: who leads a group of processes of which one works at a time, under the group's name. Its uid and generation are the term:
 * each new leader writes its spec or makes it anew, and the leader's writes are fenced by them (`Fence` in `store/store.ts`). Either the
 * object is bound to a lease of the store, and is gone when its holder is silent for too long; or the leader renews its status, and
 * whoever waits compares `renewals` by its own clock, as with the Lease of a node.
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
    /** The lease of the store to which the object is bound. */
    lease: z.string().max(253).optional(),
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

/** For people: tells one term of a group from the others. A leadership that a store deletes with its lease begins at generation 1 each time. */
export function termName({ metadata: { uid, generation }, spec }: Leadership): string {
  return spec.lease === undefined ? `${generation}` : uid.slice(0, 8);
}

/** How long a holder may be silent, unless it is told otherwise. */
export const DEFAULT_TTL_MS = 5_000;
