/** Cell: a set of nodes behind the same fabric that know each other's slots; the outermost blast radius. */
import { z } from "zod";
import { integerField, nameField, portField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";
import { cellRoutingSchema } from "./routing.ts";

const rolloutNumberField = integerField(1, Number.MAX_SAFE_INTEGER).optional();

/** How changes of policy reach the nodes; see docs/rollout.md. */
const rolloutSettingsSchema = z.strictObject({
  /** So many nodes take up a change first; with 0 it goes to all of them at once. */
  canaries: integerField(0, 100).default(1),
  /** Then so much of the cell's nodes, wave by wave, and in the end all. */
  percents: z.array(integerField(1, 100)).max(10, "has more than 10 waves; leave some out").default([25]),
  /** How long the nodes of a wave must work well before the next wave. */
  bakeSeconds: integerField(0, 86_400).default(5),
  /** How long a node may take to report that it has applied what it was given. */
  reportSeconds: integerField(1, 3600).default(30),
  /** By so many percentage points may the share of packets that a node drops rise. */
  maxDropRisePercent: integerField(0, 100).default(2),
  /** No further wave begins. */
  paused: z.boolean().default(false),
  /** The rollout of this number is not wanted: all nodes go back to what was good before. */
  undo: rolloutNumberField,
  /** The rollout of this number was stopped, and is tried again. */
  retry: rolloutNumberField,
});

export type RolloutSettings = z.output<typeof rolloutSettingsSchema>;

export const DEFAULT_ROLLOUT: RolloutSettings = rolloutSettingsSchema.parse({});

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
        /** Nodes that the operator knows to be dead: when they are lost that is believed, however many they are. */
        confirmedLost: z.array(nameField).max(1000, "has more than 1000 nodes").default([]),
      })
      .default({ ttlSeconds: 3, maxLossPercent: 50, confirmedLost: [] }),
    /** How long flows stay with the previous owner of a slot that moves, and how long after that it is still asked; default 600. */
    moves: z.strictObject({ deadlineSeconds: integerField(1, 604_800) }).optional(),
    /** What the nodes announce to the fabric. Left out: nothing, the routes toward them are somebody else's work. */
    routing: cellRoutingSchema.optional(),
    rollout: rolloutSettingsSchema.default(DEFAULT_ROLLOUT),
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
