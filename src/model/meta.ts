/**
 * What all objects have in common. The shapes and rules are those of Kubernetes objects, so that the same
 * objects can be served as custom resources later.
 */
import { z } from "zod";
import { nameField } from "./fields.ts";

export const API_VERSION = "natto.dev/v1alpha1";
export const API_GROUP_PATH = `/apis/${API_VERSION}`;
export const DEFAULT_NAMESPACE = "default";

const labelMap = z.record(z.string().max(253), z.string().max(63)).default({});
const annotationMap = z.record(z.string().max(253), z.string()).default({});

/** Metadata. The fields after `annotations` are set by the store; what a client sends there is ignored. */
export const metadataSchema = z.strictObject({
  name: nameField,
  namespace: nameField.optional(),
  labels: labelMap,
  annotations: annotationMap,
  uid: z.string().default(""),
  /** Opaque; changes with every write. Send it back to make a write conditional. */
  resourceVersion: z.string().default(""),
  /** Counts the changes of `spec`. */
  generation: z.number().int().default(0),
  /** RFC 3339. */
  creationTimestamp: z.string().default(""),
});

export type Metadata = z.output<typeof metadataSchema>;

export const conditionSchema = z.strictObject({
  type: z.string(),
  status: z.enum(["True", "False", "Unknown"]),
  /** One word in CamelCase, stable, for programs. */
  reason: z.string(),
  /** For people: what was found and what to do. */
  message: z.string().default(""),
  observedGeneration: z.number().int().default(0),
  lastTransitionTime: z.string().default(""),
});

export type Condition = z.output<typeof conditionSchema>;

/**
 * Merges fresh conditions into earlier ones: types that are not mentioned stay, and `lastTransitionTime` moves
 * only when a status changes. The result is sorted by type, so that equal input gives equal output.
 */
export function mergeConditions(
  earlier: readonly Condition[],
  fresh: readonly Omit<Condition, "lastTransitionTime">[],
  now: string,
): Condition[] {
  const byType = new Map(earlier.map((c) => [c.type, c]));
  for (const condition of fresh) {
    const before = byType.get(condition.type);
    const lastTransitionTime = before?.status === condition.status ? before.lastTransitionTime : now;
    byType.set(condition.type, { ...condition, lastTransitionTime });
  }
  return [...byType.values()].sort((a, b) => (a.type < b.type ? -1 : 1));
}

/** Whether merging would change nothing; much cheaper than to merge and compare. */
export function conditionsHold(
  earlier: readonly Condition[],
  fresh: readonly Omit<Condition, "lastTransitionTime">[],
): boolean {
  return fresh.every(({ type, status, reason, message, observedGeneration }) => {
    const before = earlier.find((condition) => condition.type === type);
    return (
      before?.status === status &&
      before.reason === reason &&
      before.message === message &&
      before.observedGeneration === observedGeneration
    );
  });
}

/** The part of a kind's schema that is the same for all: the envelope around `spec` and `status`. */
export function objectSchema<K extends string, S extends z.ZodType, T extends z.ZodType>(
  kind: K,
  spec: S,
  status: T,
) {
  return z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: metadataSchema,
    spec,
    status: status.optional(),
  });
}
