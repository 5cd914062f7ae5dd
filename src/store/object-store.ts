/** Makes a `Store` of objects out of a driver that stores text under keys. */
import { randomUUID } from "node:crypto";
import { NattoError } from "../errors.ts";
import { type AnyObject, type Kind, kindInfo, type ObjectOf } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import type { Change, KeyValueStore } from "./key-value.ts";
import {
  type Birth,
  checkPrecondition,
  createdObject,
  statusUpdatedObject,
  updatedObject,
} from "./object-lifecycle.ts";
import {
  keyOf,
  keyText,
  type ListResult,
  type ObjectKey,
  type Selection,
  type Store,
  type WatchEvent,
} from "./store.ts";

/** An unconditional write is tried again when somebody else was faster, at most so often. */
const MAX_WRITE_ATTEMPTS = 100;

export interface ObjectStoreOptions {
  /** What new objects are given; default: a random UUID and the system's clock. */
  readonly birth?: () => Birth;
}

export function makeObjectStore(driver: KeyValueStore, options: ObjectStoreOptions = {}): Store {
  const birth = options.birth ?? randomBirth;
  return {
    description: driver.description,
    get: (key) => read(driver, key),
    list: (selection) => list(driver, selection),
    create: (draft) => create(driver, draft, birth()),
    update: (draft) => replace(driver, draft, updatedObject),
    updateStatus: (draft) => replace(driver, draft, statusUpdatedObject),
    delete: (key, resourceVersion) => change(driver, key, resourceVersion, () => undefined),
    watch: (selection, from, signal) => watch(driver, selection, from, signal),
    close: () => driver.close(),
  };
}

async function read<K extends Kind>(
  driver: KeyValueStore,
  key: ObjectKey<K>,
): Promise<ObjectOf<K> | undefined> {
  const entry = await driver.get(keyText(key));
  return entry && decode<K>(entry.value, entry.revision);
}

async function create<K extends Kind>(
  driver: KeyValueStore,
  draft: ObjectOf<K>,
  birth: Birth,
): Promise<ObjectOf<K>> {
  const object = createdObject(draft, birth);
  const value = JSON.stringify(object);
  const revision = await driver.write({ key: keyText(keyOf(object)), value, expected: 0 });
  if (revision === undefined) {
    throw new NattoError(
      "AlreadyExists",
      `${nameOf(object)} already exists; update it, or choose another name`,
    );
  }
  return decode<K>(value, revision);
}

/** Reads, decides, writes; again when the object changed in between. `decide` returns the same object to leave it, undefined to delete it. */
async function change<K extends Kind>(
  driver: KeyValueStore,
  key: ObjectKey<K>,
  resourceVersion: string | undefined,
  decide: (stored: AnyObject) => AnyObject | undefined,
): Promise<ObjectOf<K>> {
  for (let attempt = 0; attempt < MAX_WRITE_ATTEMPTS; attempt++) {
    const stored = await read<K>(driver, key);
    if (stored === undefined) throw notFound(key);
    checkPrecondition(stored, resourceVersion);
    const next = decide(stored);
    if (next === stored) return stored;
    const value = next && JSON.stringify({ ...next, metadata: { ...next.metadata, resourceVersion: "" } });
    const revision = await driver.write({
      key: keyText(key),
      value,
      expected: Number(stored.metadata.resourceVersion),
    });
    if (revision !== undefined) return value === undefined ? stored : decode<K>(value, revision);
  }
  throw new NattoError(
    "Conflict",
    `${keyText(key)} changed ${MAX_WRITE_ATTEMPTS} times while it was to be written; read it again and redo the change`,
  );
}

function replace<K extends Kind>(
  driver: KeyValueStore,
  draft: ObjectOf<K>,
  merge: (stored: AnyObject, draft: AnyObject) => AnyObject,
): Promise<ObjectOf<K>> {
  const key = keyOf(draft) as ObjectKey<K>;
  return change(driver, key, draft.metadata.resourceVersion, (stored) => merge(stored, draft));
}

async function list<K extends Kind>(driver: KeyValueStore, selection: Selection<K>): Promise<ListResult<K>> {
  const { entries, revision } = await driver.range(prefixOf(selection));
  const items = entries
    .map((entry) => decode<K>(entry.value, entry.revision))
    .filter(selector(selection))
    .sort(byNamespaceAndName);
  return { items, resourceVersion: String(revision) };
}

async function* watch<K extends Kind>(
  driver: KeyValueStore,
  selection: Selection<K>,
  from: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent<K>> {
  const selects = selector(selection);
  for await (const batch of driver.watch(prefixOf(selection), revisionOf(from), signal)) {
    for (const item of batch.changes) {
      if (signal.aborted) return;
      const event = eventOf<K>(item);
      if (selects(event.object)) yield event;
    }
    if (batch.changes.length === 0 && !signal.aborted) {
      yield { type: "BOOKMARK", resourceVersion: String(batch.revision) };
    }
  }
}

/** The order of a list. */
export function byNamespaceAndName(a: AnyObject, b: AnyObject): number {
  return (
    compareText(a.metadata.namespace ?? "", b.metadata.namespace ?? "") ||
    compareText(a.metadata.name, b.metadata.name)
  );
}

/** Says of an object of the selection's kind whether it is selected. */
export function selector(selection: Selection): (object: AnyObject) => boolean {
  const { namespace, name } = selection;
  return ({ metadata }) =>
    (namespace === undefined || metadata.namespace === namespace) &&
    (name === undefined || metadata.name === name);
}

/** Parses a resourceVersion to watch from. Throws `BadRequest`. */
export function revisionOf(resourceVersion: string): number {
  const revision = /^\d{1,16}$/.test(resourceVersion) ? Number(resourceVersion) : Number.NaN;
  if (Number.isSafeInteger(revision)) return revision;
  throw new NattoError(
    "BadRequest",
    `resourceVersion: found "${resourceVersion}", which is not a revision; use the resourceVersion of a list or of an event`,
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

function randomBirth(): Birth {
  return { uid: randomUUID(), creationTimestamp: new Date().toISOString() };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The longest prefix that all keys of the selection share. */
function prefixOf({ kind, namespace, name }: Selection): string {
  if (kindInfo(kind).namespaced && namespace === undefined) return `${kind}/`;
  return keyText({ kind, namespace, name: name ?? "" });
}

function decode<K extends Kind>(value: string, revision: number): ObjectOf<K> {
  const object = JSON.parse(value) as AnyObject;
  object.metadata.resourceVersion = String(revision);
  return object as ObjectOf<K>;
}

function eventOf<K extends Kind>(change: Change): Exclude<WatchEvent<K>, { type: "BOOKMARK" }> {
  const object = decode<K>(change.value, change.revision);
  return { type: change.type, object, resourceVersion: String(change.revision) };
}
