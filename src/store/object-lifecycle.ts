/**
 * What creating, replacing and deleting do to an object: metadata, generation, separation of spec and status. Pure: the clock
 * and the source of uids are parameters. The rules are those of Kubernetes' custom resources with a status subresource.
 */
import { isDeepStrictEqual } from "node:util";
import { NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { nameOf, validateObject } from "../model/validate.ts";

/** What a new object is given. */
export interface Birth {
  readonly uid: string;
  /** RFC 3339. */
  readonly creationTimestamp: string;
}

/** The object to be stored for a draft, without a status. Throws `Invalid`, `TooLarge`. */
export function createdObject(draft: unknown, birth: Birth): AnyObject {
  const { status: _, ...object } = asJson(validateObject(draft));
  return {
    ...object,
    metadata: { ...object.metadata, ...birth, resourceVersion: "", generation: 1 },
  } as AnyObject;
}

/** The object to be stored for one of a backup: its identity is kept, its status is not, since it tells of another time. Throws `Invalid`, `TooLarge`. */
export function restoredObject(draft: AnyObject, birth: Birth): AnyObject {
  const created = createdObject(draft, birth);
  const { uid, generation, creationTimestamp } = draft.metadata;
  if (uid === "") return created;
  return { ...created, metadata: { ...created.metadata, uid, generation, creationTimestamp } } as AnyObject;
}

/**
 * The stored object with the draft's spec, labels and annotations. Returns `stored` itself when nothing differs. `generation`
 * grows by one when the spec differs. Throws `Invalid`, `TooLarge`.
 */
export function updatedObject(stored: AnyObject, draft: unknown): AnyObject {
  const { spec, metadata } = asJson(validateObject(draft));
  const { labels, annotations } = metadata;
  const sameSpec = isDeepStrictEqual(spec, stored.spec);
  if (
    sameSpec &&
    isDeepStrictEqual(labels, stored.metadata.labels) &&
    isDeepStrictEqual(annotations, stored.metadata.annotations)
  ) {
    return stored;
  }
  const generation = stored.metadata.generation + (sameSpec ? 0 : 1);
  return { ...stored, metadata: { ...stored.metadata, labels, annotations, generation }, spec } as AnyObject;
}

/** The stored object with the draft's status. Returns `stored` itself when nothing differs. Throws `Invalid`. */
export function statusUpdatedObject(stored: AnyObject, draft: AnyObject): AnyObject {
  const { status: _, ...rest } = stored;
  const merged = draft.status === undefined ? rest : { ...rest, status: draft.status };
  const { status } = asJson(validateObject(merged));
  if (isDeepStrictEqual(status, stored.status)) return stored;
  return (status === undefined ? rest : { ...rest, status }) as AnyObject;
}

/** Throws `Conflict` when a resourceVersion is demanded and the stored object has another one. */
export function checkPrecondition(stored: AnyObject, resourceVersion: string | undefined): void {
  const found = stored.metadata.resourceVersion;
  if (!resourceVersion || resourceVersion === found) return;
  throw new NattoError(
    "Conflict",
    `${nameOf(stored)} has changed since it was read; read it again and redo the change`,
    [
      {
        field: "metadata.resourceVersion",
        message: `found ${resourceVersion}, but the stored object has ${found}`,
        remedy: "read the object again and redo the change",
      },
    ],
  );
}

/** The value as a store gives it back: without fields that are undefined. */
function asJson<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
