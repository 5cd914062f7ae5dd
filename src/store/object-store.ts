/** Makes a `Store` of objects out of a driver that stores text under keys. */
import { randomUUID } from "node:crypto";
import { NattoError } from "../errors.ts";
import { type AnyObject, type Kind, kindInfo, type ObjectOf } from "../model/kinds.ts";
import { makeFenceCheck } from "./fence.ts";
import type { Change, KeyValueStore, Leases } from "./key-value.ts";
import { decode, decodeOrStub, decodeOrThrow } from "./object-codec.ts";
import { type CommitContext, commitChanges } from "./object-commit.ts";
import type { Birth } from "./object-lifecycle.ts";
import { singleWrites } from "./single-writes.ts";
import {
  type Damage,
  keyText,
  type ListResult,
  type Selection,
  type Store,
  type StoreLease,
  type WatchEvent,
} from "./store.ts";

export interface ObjectStoreOptions {
  /** What new objects are given; default: a random UUID and the system's clock. */
  readonly birth?: () => Birth;
  /** Told of values that are no objects, each time that a list or a watch comes upon one. */
  readonly onDamage?: (damage: Damage) => void;
}

export function makeObjectStore(driver: KeyValueStore, options: ObjectStoreOptions = {}): Store {
  const { birth = randomBirth, onDamage = () => {} } = options;
  const { leases } = driver;
  const withWrites = (context: CommitContext): Store => ({
    description: driver.description,
    get: async <K extends Kind>(key: Parameters<typeof keyText>[0]) => {
      const text = keyText(key);
      const entry = await driver.get(text);
      return entry && decodeOrThrow<K>(text, entry.value, entry.revision);
    },
    list: (selection) => list(driver, selection, onDamage),
    ...singleWrites((changes) => commitChanges(context, changes)),
    fenced: (fence) => withWrites({ ...context, fence: makeFenceCheck(driver, fence) }),
    watch: (selection, from, signal) => watch(driver, selection, from, signal, onDamage),
    ...(leases && {
      grantLease: (ttlMs) => grant(leases, ttlMs, (lease) => withWrites({ ...context, lease })),
    }),
    close: () => driver.close(),
  });
  return withWrites({ driver, birth, fence: undefined, lease: undefined });
}

async function grant(leases: Leases, ttlMs: number, under: (lease: string) => Store): Promise<StoreLease> {
  const granted = await leases.grant(ttlMs);
  const { id } = granted;
  return { ...granted, store: under(id), prolong: () => leases.prolong(id), end: () => leases.revoke(id) };
}

async function list<K extends Kind>(
  driver: KeyValueStore,
  selection: Selection<K>,
  onDamage: (damage: Damage) => void,
): Promise<ListResult<K>> {
  const { entries, revision } = await driver.range(prefixOf(selection));
  const selects = selector(selection);
  const items: ObjectOf<K>[] = [];
  const damaged: Damage[] = [];
  for (const entry of entries) {
    const decoded = decode<K>(entry.key, entry.value, entry.revision);
    if (decoded.damage) damaged.push(decoded.damage);
    else if (selects(decoded.object)) items.push(decoded.object);
  }
  for (const damage of damaged) onDamage(damage);
  return { items: items.sort(byNamespaceAndName), resourceVersion: String(revision), damaged };
}

async function* watch<K extends Kind>(
  driver: KeyValueStore,
  selection: Selection<K>,
  from: string,
  signal: AbortSignal,
  onDamage: (damage: Damage) => void,
): AsyncGenerator<WatchEvent<K>> {
  const selects = selector(selection);
  for await (const batch of driver.watch(prefixOf(selection), revisionOf(from), signal)) {
    for (const item of batch.changes) {
      if (signal.aborted) return;
      const event = eventOf<K>(item, onDamage);
      if (event && selects(event.object)) yield event;
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

/** Undefined for a change to something that is no object. */
function eventOf<K extends Kind>(
  { type, key, value, revision }: Change,
  onDamage: (damage: Damage) => void,
): Exclude<WatchEvent<K>, { type: "BOOKMARK" }> | undefined {
  const resourceVersion = String(revision);
  if (type === "DELETED") return { type, object: decodeOrStub<K>(key, value, revision), resourceVersion };
  const decoded = decode<K>(key, value, revision);
  if (!decoded.damage) return { type, object: decoded.object, resourceVersion };
  onDamage(decoded.damage);
  return undefined;
}
