/** Occurrences: what happens, before it is written down, and how repeats become one Event. Pure. */
import { createHash } from "node:crypto";
import { type Event, eventSchema, type ObjectReference } from "../model/event.ts";
import { API_VERSION, DEFAULT_NAMESPACE } from "../model/meta.ts";
import { checkSchema } from "../model/validate.ts";
import type { ObjectKey } from "../store/store.ts";

/** The reporter of all that is seen by controllers and servers, whichever of them it is. */
export const CONTROL_REPORTER = "controller";

export interface Occurrence {
  readonly regarding: ObjectReference;
  readonly type: Event["spec"]["type"];
  /** One word in CamelCase. */
  readonly reason: string;
  readonly note: string;
}

/** An occurrence that happened `count` times. Times are epoch ms. */
export interface Repeated {
  readonly occurrence: Occurrence;
  readonly count: number;
  readonly first: number;
  readonly last: number;
}

/** Names are RFC 1123 labels of at most 63 characters. */
const REPORTER_CHARACTERS = 46;
const DIGEST_CHARACTERS = 16;

/**
 * The Event in which an occurrence is counted: one for each object, reason and reporter, so that their number is bounded however often
 * something happens. The name begins with the reporter's, so that a store can allow each node its own Events only.
 */
export function eventKey({ regarding, reason }: Occurrence, reporter: string): ObjectKey<"Event"> {
  const { kind, namespace, name } = regarding;
  const identity = JSON.stringify([kind, namespace ?? "", name, reason, reporter]);
  const digest = createHash("sha256").update(identity).digest("hex").slice(0, DIGEST_CHARACTERS);
  return {
    kind: "Event",
    namespace: namespace ?? DEFAULT_NAMESPACE,
    name: `${reporter.slice(0, REPORTER_CHARACTERS)}-${digest}`,
  };
}

/** Both as one; the note is that of the later one. */
export function together(earlier: Repeated | undefined, later: Repeated): Repeated {
  if (!earlier) return later;
  return { ...later, count: earlier.count + later.count, first: earlier.first };
}

/** The Event that says so, given the one that is stored. Throws `Invalid`. */
export function eventOf(repeated: Repeated, reporter: string, stored: Event | undefined): Event {
  const { occurrence, count, first, last } = repeated;
  const { regarding, type, reason, note } = occurrence;
  const { namespace, name } = eventKey(occurrence, reporter);
  return checkSchema(eventSchema, {
    apiVersion: API_VERSION,
    kind: "Event",
    metadata: { name, namespace, resourceVersion: stored?.metadata.resourceVersion ?? "" },
    spec: {
      ...{ regarding, type, reason, note, reporter },
      count: (stored?.spec.count ?? 0) + count,
      firstTime: stored?.spec.firstTime ?? new Date(first).toISOString(),
      lastTime: new Date(last).toISOString(),
    },
  });
}
