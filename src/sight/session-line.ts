/** The session log: one JSON object a line. Pure. */
import { z } from "zod";

const endField = z.string().regex(/^[0-9.]+:\d+$/);

const eventSchema = z.strictObject({
  /** RFC 3339, UTC. */
  time: z.string(),
  event: z.enum(["begin", "end"]),
  node: z.string(),
  gateway: z.string(),
  protocol: z.enum(["tcp", "udp", "icmp"]),
  /** ADDRESS:PORT */
  inside: endField,
  public: endField,
  remote: endField,
});

/** So many lines should stand here and do not. */
const lostSchema = z.strictObject({
  time: z.string(),
  event: z.literal("lost"),
  node: z.string(),
  count: z.number().int(),
});

export const sessionLineSchema = z.discriminatedUnion("event", [eventSchema, lostSchema]);

export type SessionLine = z.output<typeof sessionLineSchema>;
export type LoggedEvent = z.output<typeof eventSchema>;
