/** GatewayNode: one machine of the NAT fleet. Its agent registers it; the operator sets `drain`, `weight` and labels. */
import { z } from "zod";
import { addressField, integerField, interfaceField, nameField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";
import { nodeRoutingSchema, SIDES } from "./routing.ts";
import { usageSchema } from "./usage.ts";

/** The label that says in which zone (rack, power feed, room) a node stands. */
export const ZONE_LABEL = "topology.natto.dev/zone";

/** Condition of a node whose dataplane is attached and programmed: only such nodes are given slots. */
export const NODE_READY = "Ready";

export const gatewayNodeSchema = objectSchema(
  "GatewayNode",
  z.strictObject({
    cell: nameField,
    /** The address at which the other nodes of the cell reach this one through the fabric. */
    address: addressField,
    /** Interfaces that carry traffic; they may be the same one. */
    interfaces: z.strictObject({ inside: interfaceField, outside: interfaceField }),
    /** A draining node is given no slots. */
    drain: z.boolean().default(false),
    /** While it drains, in place of the cell's `moves.deadlineSeconds`. */
    drainSeconds: integerField(1, 604_800).optional(),
    /** Share of slots relative to the other nodes. */
    weight: integerField(0, 1000).default(100),
    /** How this node's routing differs from its cell's. */
    routing: nodeRoutingSchema.optional(),
  }),
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    agent: z.strictObject({ version: z.string(), startedAt: z.string() }).optional(),
    /** The NodeConfig that the dataplane runs now. */
    applied: z.strictObject({ generation: z.number().int(), digest: z.string(), at: z.string() }).optional(),
    sessions: z.strictObject({ used: z.number().int(), capacity: z.number().int() }).optional(),
    /** Slots that are another node's by now while their ports are still this one's, and the sessions in them. Left out: none. */
    moving: z.strictObject({ slots: z.number().int(), sessions: z.number().int() }).optional(),
    /** Where its live sessions and metrics can be read; see docs/observability.md. */
    observer: z.strictObject({ url: z.string() }).optional(),
    /** How much of their ports gateways use on this node: the fullest of them; see docs/observability.md. */
    usage: z.array(usageSchema).optional(),
    /** Packets by counter name, since the maps were made. See docs/dataplane.md for the names. */
    counters: z.record(z.string(), z.number()).default({}),
    /** What the node announces to the fabric now, and how its sessions are; only where its cell declares routing. */
    routing: z
      .strictObject({
        /** Prefixes, the first of each side; `omitted` is how many more there are. */
        announced: z.strictObject({
          inside: z.array(z.string()),
          outside: z.array(z.string()),
          omitted: z.number().int().default(0),
        }),
        sessions: z.array(
          z.strictObject({
            name: z.string(),
            side: z.enum(SIDES),
            peer: z.string(),
            peerAs: z.number().int(),
            up: z.boolean(),
            /** The state of RFC 4271, section 8, or `Unconfigured`. */
            state: z.string(),
            /** For people: what it is, what is wrong with it and what to do. */
            message: z.string(),
          }),
        ),
      })
      .optional(),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type GatewayNode = z.output<typeof gatewayNodeSchema>;
