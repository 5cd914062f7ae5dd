/**
 * Rollout: how far the latest change of policy has come in a cell, under the cell's name. The controller writes it before it acts on it, so
 * that whoever is controller next goes on from there.
 */
import { z } from "zod";
import { nameField } from "./fields.ts";
import { objectSchema } from "./meta.ts";
import { gatewayPolicySchema } from "./node-config.ts";

/** What all nodes of a cell do for their gateways, without who owns which slot. */
const policySchema = z.strictObject({
  /** A short name of the content. */
  digest: z.string(),
  gateways: z.array(gatewayPolicySchema),
});

/** How a node was when a wave reached it: what it is compared with afterwards. */
const baselineSchema = z.strictObject({
  /** Its agent was alive, so it is waited for. */
  alive: z.boolean(),
  ready: z.boolean(),
  /** Packets that it had translated or dropped, and those of them that it had dropped. */
  packets: z.number(),
  drops: z.number(),
  /** The share of its packets, in percent, that it dropped before. */
  dropPercent: z.number(),
});

/** Something that happened, for people. */
const rolloutEventSchema = z.strictObject({
  /** RFC 3339. */
  at: z.string(),
  rollout: z.number().int(),
  /** One word in CamelCase, stable, for programs. */
  reason: z.string(),
  message: z.string(),
});

export const rolloutSchema = objectSchema(
  "Rollout",
  z.strictObject({
    cell: nameField,
    /** Counts the rollouts of this cell. */
    number: z.number().int(),
    /** What nodes do that no wave has reached; when nothing is under way, what all do. */
    good: policySchema,
    stage: z.discriminatedUnion("phase", [
      /** `previous`: what was good before the last rollout, if it can be undone. */
      z.strictObject({ phase: z.literal("settled"), previous: policySchema.optional() }),
      z.strictObject({
        phase: z.literal("rolling"),
        target: policySchema,
        /** 1: the canaries. */
        wave: z.number().int(),
        /** The nodes that the waves have reached. */
        released: z.record(nameField, baselineSchema),
      }),
    ]),
    /**
     * Gateways as they are set aside: a rollout of them failed or was undone. As long as they are declared like this, nodes do what is good for
     * them instead; everything else is rolled out without them.
     */
    rejected: z.array(gatewayPolicySchema),
    /** Why; undefined when nothing is set aside. */
    verdict: rolloutEventSchema.optional(),
    /** The latest ones, oldest first. */
    events: z.array(rolloutEventSchema),
  }),
  z.strictObject({}),
);

export type Rollout = z.output<typeof rolloutSchema>;
export type RolloutSpec = Rollout["spec"];
export type RolloutStage = RolloutSpec["stage"];
export type Policy = z.output<typeof policySchema>;
export type Baseline = z.output<typeof baselineSchema>;
export type RolloutEvent = z.output<typeof rolloutEventSchema>;
