/**
 * Event: something that happened to an object, for people. In the manner of Kubernetes: it lies in the namespace of the object that it regards
 * (`default` where that has none), repeats are counted in one Event, and it is removed after a while. Nothing in Natto acts on one.
 */
import { z } from "zod";
import { objectSchema } from "./meta.ts";

const objectReference = z.strictObject({
  kind: z.string(),
  namespace: z.string().optional(),
  name: z.string(),
});

export const eventSchema = objectSchema(
  "Event",
  z.strictObject({
    /** The object that it is about. */
    regarding: objectReference,
    /** `Warning`: somebody should look. */
    type: z.enum(["Normal", "Warning"]),
    /** One word in CamelCase, stable, for programs. */
    reason: z.string(),
    /** For people: what happened, and what to do; of the latest time. */
    note: z.string(),
    /** How often it happened. */
    count: z.number().int().min(1),
    /** When it happened first and last, by the clock of who wrote it (RFC 3339). */
    firstTime: z.string(),
    lastTime: z.string(),
    /** Who saw it: a node, or `controller`. */
    reporter: z.string(),
  }),
  z.strictObject({}),
);

export type Event = z.output<typeof eventSchema>;
export type ObjectReference = z.output<typeof objectReference>;

/** How an object is called that an Event regards: `kind/namespace/name`, as `natto describe` takes it. */
export function formatReference({ kind, namespace, name }: ObjectReference): string {
  return [kind.toLowerCase(), ...(namespace === undefined ? [] : [namespace]), name].join("/");
}
