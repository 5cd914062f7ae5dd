/**
 * What a driver has to bring: text under keys, with revisions and a log of changes (the model of etcd). `object-store.ts`
 * makes a `Store` of it. Revisions are positive integers that only grow; each write takes a new one.
 */
import { NattoError } from "../errors.ts";

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** The revision of the key's last write. */
  readonly revision: number;
}

/** A condition: the key's last write has this revision; 0: the key does not exist. */
export interface Guard {
  readonly key: string;
  readonly expected: number;
}

/** One write under its own condition: `value` undefined deletes the key. */
export interface Write extends Guard {
  readonly value: string | undefined;
  /** The id of a lease of this driver: the key is deleted when it ends. Without one, a key keeps the lease that it has. */
  readonly lease?: string | undefined;
}

/** Times to live that the driver itself keeps. */
export interface Leases {
  /** `ttlMs` of the answer is what was asked for or longer: the driver may only know whole seconds. */
  grant(ttlMs: number): Promise<{ readonly id: string; readonly ttlMs: number }>;
  /** From now on it lives for its whole time again. False when it has ended. */
  prolong(id: string): Promise<boolean>;
  /** Ends it, and deletes the keys that are bound to it; nothing happens when it has ended before. */
  revoke(id: string): Promise<void>;
}

export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly key: string;
  /** What was written; of a deleted key, what it held last. */
  readonly value: string;
  readonly revision: number;
}

/** Changes in the order of their revisions; with these, the watcher has seen everything up to `revision`. */
export interface ChangeBatch {
  readonly changes: readonly Change[];
  readonly revision: number;
}

export interface KeyValueStore {
  readonly description: string;
  get(key: string): Promise<Entry | undefined>;
  /** All entries whose keys begin with `prefix`, in no particular order, as of `revision`. */
  range(prefix: string): Promise<{ readonly entries: readonly Entry[]; readonly revision: number }>;
  /**
   * Does all of the writes or none. Returns the revision of each, durable by now; undefined when a key of `writes` or of `guards`,
   * which are not written, is not at its expected revision. No key may be named twice.
   */
  commit(writes: readonly Write[], guards?: readonly Guard[]): Promise<readonly number[] | undefined>;
  /**
   * Yields all changes under `prefix` after revision `from`; a batch without changes when it has caught up, and from time to
   * time when nothing happens. Throws `Expired` when changes after `from` are gone, or when `from` lies in the future.
   */
  watch(prefix: string, from: number, signal: AbortSignal): AsyncIterable<ChangeBatch>;
  /** Of drivers that can forget by themselves. */
  readonly leases?: Leases;
  close(): Promise<void>;
}

/** Whether the guard holds for what its key is found to be. */
export function isAt({ expected }: Guard, found: Entry | undefined): boolean {
  return (found?.revision ?? 0) === expected;
}

/** False for the deletion of a key that is expected not to exist. */
export function canTakePlace({ value, expected }: Write): boolean {
  return value !== undefined || expected !== 0;
}

/** How much of the past a driver keeps for watches to resume from: whichever bound is reached first. */
export interface HistoryLimits {
  readonly maxChanges: number;
  readonly maxBytes: number;
}

export const DEFAULT_HISTORY: HistoryLimits = { maxChanges: 10_000, maxBytes: 64 * 1024 * 1024 };

/**
 * The first revision of a new store: milliseconds since 1970. A store that replaces a lost one thereby begins above all revisions
 * of the lost one (as long as that took fewer than 1,000 writes a second throughout), so a watcher of the old one
 * is told to list again instead of being fed the new one's changes as if nothing had happened.
 */
export function firstRevision(nowMs: number): number {
  return Math.max(1, Math.floor(nowMs));
}

/** Throws `Expired` unless all changes after `from` are kept. `compacted` is the last revision that is not. */
export function checkKept(from: number, compacted: number, current: number): void {
  if (from >= compacted && from <= current) return;
  const why =
    from > current
      ? `this store has only come to ${current}: it is not the store that the revision is from`
      : `changes are kept only since ${compacted}`;
  throw new NattoError(
    "Expired",
    `cannot watch from revision ${from}: ${why}; list again and watch from there`,
  );
}
