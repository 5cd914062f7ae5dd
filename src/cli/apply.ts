/** What `natto apply` does with one object: decides by a three-way merge, and writes under optimistic concurrency. */
import { isDeepStrictEqual } from "node:util";
import { NattoError } from "../errors.ts";
import type { AnyObject, Kind } from "../model/kinds.ts";
import { nameOf, validateObject } from "../model/validate.ts";
import { getSound } from "../store/object-codec.ts";
import { keyOf, type Store } from "../store/store.ts";
import { isJsonObject, type JsonObject, mergeThreeWay } from "./three-way.ts";

/** Annotation with the labels, annotations and spec that were applied last, as they were written: JSON. */
export const LAST_APPLIED = "natto.dev/last-applied";

/** How often an object is read again when others keep changing it in between. */
const MAX_ATTEMPTS = 8;

export type Outcome = "created" | "configured" | "unchanged";

/** What is to be done with an object. `write` is false when it and the record of what was applied are as they should be. */
export interface ApplyPlan {
  readonly outcome: Outcome;
  readonly write: boolean;
  readonly draft: AnyObject;
}

/**
 * Decides what to do with an object as it was written, given what is stored. `unchanged` means that spec, labels and
 * annotations stay as they are; the record in `LAST_APPLIED` is brought up to date all the same. Throws `Invalid` when the merged
 * object breaks a rule.
 */
export function planApply(written: AnyObject, input: unknown, live: AnyObject | undefined): ApplyPlan {
  const wanted = appliedParts(input);
  const last = live ? lastApplied(live) : {};
  const merged = live ? mergeThreeWay(last, wanted, appliedParts(live)) : wanted;
  const draft = validateObject({
    apiVersion: written.apiVersion,
    kind: written.kind,
    metadata: {
      name: written.metadata.name,
      ...(written.metadata.namespace === undefined ? {} : { namespace: written.metadata.namespace }),
      labels: merged.labels ?? {},
      annotations: { ...part(merged, "annotations"), [LAST_APPLIED]: JSON.stringify(wanted) },
      resourceVersion: live?.metadata.resourceVersion ?? "",
    },
    spec: merged.spec ?? {},
  });
  if (!live) return { outcome: "created", write: true, draft };
  const same = isDeepStrictEqual(appliedParts(draft), appliedParts(live));
  const recorded = isDeepStrictEqual(last, wanted);
  return { outcome: same ? "unchanged" : "configured", write: !same || !recorded, draft };
}

/**
 * Applies one object to the store and returns how it is stored now. With `dryRun`, reads and decides but writes nothing. Throws
 * `Conflict` when others kept changing the object at every attempt, and whatever the store throws.
 */
export async function applyObject(
  store: Store,
  written: AnyObject,
  input: unknown,
  dryRun = false,
): Promise<{ readonly outcome: Outcome; readonly object: AnyObject }> {
  for (let attempt = 1; ; attempt++) {
    const live = await getSound<Kind>(store, keyOf(written));
    const { outcome, write, draft } = planApply(written, input, live);
    if (live && !write) return { outcome, object: live };
    if (dryRun) return { outcome, object: draft };
    try {
      return { outcome, object: await (live ? store.update(draft) : store.create(draft)) };
    } catch (thrown) {
      if (!isOvertaken(thrown)) throw thrown;
      if (attempt < MAX_ATTEMPTS) continue;
      throw new NattoError(
        "Conflict",
        `${nameOf(written)} was changed by somebody else during each of ${MAX_ATTEMPTS} attempts; find out who keeps writing it, then apply again`,
        [],
        thrown,
      );
    }
  }
}

/** Whether somebody else has created, changed or deleted the object since it was read. */
function isOvertaken(thrown: unknown): boolean {
  return thrown instanceof NattoError && ["AlreadyExists", "Conflict", "NotFound"].includes(thrown.code);
}

/** The parts of an object that apply looks after. */
function appliedParts(object: unknown): JsonObject {
  const root = isJsonObject(object) ? object : {};
  const { [LAST_APPLIED]: _, ...annotations } = part(part(root, "metadata"), "annotations");
  return { labels: part(part(root, "metadata"), "labels"), annotations, spec: part(root, "spec") };
}

function part(object: JsonObject, key: string): JsonObject {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  return isJsonObject(value) ? value : {};
}

/** What was applied last; nothing when the object was made in another way, or the record was damaged by hand. */
function lastApplied(live: AnyObject): JsonObject {
  const text = live.metadata.annotations[LAST_APPLIED];
  if (text === undefined) return {};
  try {
    const record: unknown = JSON.parse(text);
    return isJsonObject(record) ? record : {};
  } catch {
    return {};
  }
}
