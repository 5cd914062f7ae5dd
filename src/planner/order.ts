/** Who comes first when two objects cannot both have what they ask for. */
import type { Condition, Metadata } from "../model/meta.ts";

/** Condition of an object that the planner can work with; False when it contradicts another object. */
export const ACCEPTED = "Accepted";

/** A condition as the planner states it; the time of its last transition is added when it is written. */
export type Verdict = Omit<Condition, "lastTransitionTime">;

interface Judged {
  readonly metadata: Metadata;
  readonly status?: { readonly conditions: readonly Condition[] } | undefined;
}

/** `namespace/name`, or the name alone: the identity of an object among those of its kind. */
export function keyOfObject({ metadata }: { readonly metadata: Metadata }): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** Older objects first; those of the same second by namespace and name. */
export function byAge(a: { readonly metadata: Metadata }, b: { readonly metadata: Metadata }): number {
  return (
    compare(a.metadata.creationTimestamp, b.metadata.creationTimestamp) ||
    compare(a.metadata.namespace ?? "", b.metadata.namespace ?? "") ||
    compare(a.metadata.name, b.metadata.name)
  );
}

/**
 * Objects that were accepted as they stand come first, then those that were accepted before they were edited, then the others; within
 * each, the older first. So an edit cannot take from a neighbour what that one was granted, however young it is.
 */
export function byPrecedence(a: Judged, b: Judged): number {
  return tenure(b) - tenure(a) || byAge(a, b);
}

function tenure({ metadata, status }: Judged): 0 | 1 | 2 {
  const accepted = status?.conditions.find((c) => c.type === ACCEPTED);
  if (accepted?.status !== "True") return 0;
  return accepted.observedGeneration === metadata.generation ? 2 : 1;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
