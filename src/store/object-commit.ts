/** Writing objects: reads what is there, decides what each change makes of it, and writes all of it or nothing. */
import { NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import type { FenceCheck } from "./fence.ts";
import type { KeyValueStore, Write } from "./key-value.ts";
import { decode, decodeOrStub, decodeOrThrow, encode } from "./object-codec.ts";
import {
  type Birth,
  checkPrecondition,
  createdObject,
  restoredObject,
  statusUpdatedObject,
  updatedObject,
} from "./object-lifecycle.ts";
import { keyOf, keyText, MAX_CHANGES, type ObjectKey, type StoreChange } from "./store.ts";

/** A write that somebody else overtook is decided anew, at most so often. */
const MAX_WRITE_ATTEMPTS = 100;

export interface CommitContext {
  readonly driver: KeyValueStore;
  readonly birth: () => Birth;
  /** Checked with each write, if there is one. */
  readonly fence: FenceCheck | undefined;
  /** What is created or changed is bound to this lease, if there is one. */
  readonly lease: string | undefined;
}

/** What a change comes to: the write, if there is one, and the object that is there afterwards, or was there before its deletion. */
interface Step {
  readonly write: Write | undefined;
  readonly object: AnyObject;
}

/** See `Store.commit`. */
export async function commitChanges(
  context: CommitContext,
  changes: readonly StoreChange[],
): Promise<readonly AnyObject[]> {
  const keys = changes.map(keyOfChange);
  checkTogether(keys);
  for (let attempt = 0; attempt < MAX_WRITE_ATTEMPTS; attempt++) {
    const steps = await Promise.all(changes.map((change) => stepOf(context, change, attempt > 0)));
    const writes = steps.flatMap(({ write }) => write ?? []);
    const revisions = writes.length === 0 ? [] : await writeAll(context, writes);
    if (revisions) return outcome(steps, revisions);
  }
  throw new NattoError(
    "Conflict",
    `${keys.join(", ")} changed ${MAX_WRITE_ATTEMPTS} times while it was to be written; read it again and redo the change`,
  );
}

/** Under the fence, if there is one; undefined when one of the objects has changed. */
async function writeAll(
  { driver, fence }: CommitContext,
  writes: readonly Write[],
): Promise<readonly number[] | undefined> {
  if (!fence) return driver.commit(writes);
  const revisions = await driver.commit(writes, [await fence.guard()]);
  if (revisions === undefined) await fence.lookAgain();
  return revisions;
}

function outcome(steps: readonly Step[], revisions: readonly number[]): readonly AnyObject[] {
  const left = revisions.values();
  return steps.map(({ write, object }) => {
    const revision = write && left.next().value;
    if (write?.value === undefined || revision === undefined) return object;
    return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } } as AnyObject;
  });
}

async function stepOf(
  { driver, birth, lease }: CommitContext,
  change: StoreChange,
  overtaken: boolean,
): Promise<Step> {
  const key = keyOfChange(change);
  if (change.action === "create" || change.action === "restore") {
    const make = change.action === "create" ? createdObject : restoredObject;
    const object = make(change.draft, birth());
    // Whether it exists is shown by the write itself; only when that was refused it is asked for.
    const found = overtaken ? await driver.get(key) : undefined;
    if (found && !decode(key, found.value, found.revision).damage) throw alreadyExists(object);
    // What is damaged is no object: another may take its place.
    const expected = found?.revision ?? 0;
    return { write: { key, value: encode(object), expected, lease }, object };
  }
  const entry = await driver.get(key);
  if (!entry) throw notFound(change.action === "delete" ? change.key : keyOf(change.draft));
  const expected = entry.revision;
  if (change.action === "delete") {
    // What is damaged can still be deleted.
    const stored = decodeOrStub(key, entry.value, expected);
    checkPrecondition(stored, change.resourceVersion);
    return { write: { key, value: undefined, expected }, object: stored };
  }
  const stored = decodeOrThrow(key, entry.value, expected);
  checkPrecondition(stored, change.draft.metadata.resourceVersion);
  const merge = change.action === "update" ? updatedObject : statusUpdatedObject;
  const next = merge(stored, change.draft);
  return { write: next === stored ? undefined : { key, value: encode(next), expected, lease }, object: next };
}

function keyOfChange(change: StoreChange): string {
  return keyText(change.action === "delete" ? change.key : keyOf(change.draft));
}

function checkTogether(keys: readonly string[]): void {
  // One more: admission adds its epoch to what a client wants.
  if (keys.length > MAX_CHANGES + 1) {
    throw new NattoError(
      "TooLarge",
      `${keys.length} changes in one transaction; at most ${MAX_CHANGES} are allowed; split it`,
    );
  }
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice === undefined) return;
  throw new NattoError("BadRequest", `${twice} is changed twice in one transaction; change it once`);
}

/** `AlreadyExists` for an object that was to be created. */
export function alreadyExists(object: AnyObject): NattoError {
  return new NattoError(
    "AlreadyExists",
    `${nameOf(object)} already exists; update it, or choose another name`,
  );
}

/** `NotFound` for the object under a key. */
export function notFound(key: ObjectKey): NattoError {
  const where = key.namespace === undefined ? "" : `${key.namespace}/`;
  return new NattoError(
    "NotFound",
    `${key.kind} ${where}${key.name} does not exist; check its name and namespace`,
  );
}
