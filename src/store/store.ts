/**
 * The store: where what is declared, planned and reported is kept. One small interface; every driver (memory, embedded
 * file, HTTP client of `natto server`, later etcd and Kubernetes) passes the same contract suite, `contract.ts`.
 *
 * Rules that every driver keeps:
 * - Each write gets a revision, larger than all before it in the same store; an object's `resourceVersion` is the
 *   revision of its last write. Writes to one object are never reordered.
 * - A write that was acknowledged is durable (in drivers that have a disk) and visible to every later read.
 * - A watch delivers every change after the revision it starts from, once, in order. When it cannot, it throws `Expired`
 *   and the caller lists again; events are never silently lost.
 * - Objects that are returned are the caller's to read, not to change; drivers may return the same value twice.
 * - A value that is no object (`Damage`) is told of by `list`, and `get` throws `Damaged`; a watch passes over it, so whoever
 *   watches keeps what was there before.
 * - Errors are NattoErrors. `Unavailable` means that it is unknown whether a write took place.
 */
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";

export interface ObjectKey<K extends Kind = Kind> {
  readonly kind: K;
  /** For namespaced kinds only. */
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** Which objects of a kind: all, those of a namespace, or a single one. */
export interface Selection<K extends Kind = Kind> {
  readonly kind: K;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

export interface ListResult<K extends Kind> {
  /** Sorted by namespace, then name. */
  readonly items: readonly ObjectOf<K>[];
  /** The revision that this list shows: pass it to `watch` to miss nothing. */
  readonly resourceVersion: string;
  /** What is stored under keys of the selection and is no object; nothing can be said of what it was. */
  readonly damaged: readonly Damage[];
}

export interface Damage {
  readonly key: ObjectKey;
  readonly resourceVersion: string;
  /** What was found. */
  readonly reason: string;
}

export type WatchEvent<K extends Kind> =
  | {
      readonly type: "ADDED" | "MODIFIED" | "DELETED";
      readonly object: ObjectOf<K>;
      readonly resourceVersion: string;
    }
  /** No change of what is watched, but it is complete up to this revision. */
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

/** An object to be written. Of its metadata, `uid`, `generation` and `creationTimestamp` are ignored: the store sets them. */
export type Draft<K extends Kind> = ObjectOf<K>;

/** One of several writes that take place together; each means what the method of its name does. */
export type StoreChange =
  /** `restore`: creates the object with the uid, generation and time of the draft, as a backup has them. */
  | {
      readonly action: "create" | "update" | "updateStatus" | "restore";
      readonly draft: AnyObject;
    }
  | {
      readonly action: "delete";
      readonly key: ObjectKey;
      readonly resourceVersion?: string | undefined;
    };

/** At most so many changes take place together. */
export const MAX_CHANGES = 64;

/**
 * A fencing token: the term of a leader. It holds as long as the object exists with this uid and generation; every new leader writes
 * another spec into it, so a term that is over never comes back. Changes of the object's status leave it as it is.
 */
export interface Fence {
  readonly key: ObjectKey;
  readonly uid: string;
  readonly generation: number;
}

/** A time to live in the store's own keeping. */
export interface StoreLease {
  /** The store's name for it, for people too. */
  readonly id: string;
  /** How long it lives unless it is prolonged: what was asked for, or longer. */
  readonly ttlMs: number;
  /** The store, for writing objects that are gone as soon as the lease has ended. Who else writes them later leaves them bound to it. */
  readonly store: Store;
  /** From now on it lives for its whole time again. False when it has ended. */
  prolong(): Promise<boolean>;
  /** Ends it now. */
  end(): Promise<void>;
}

export interface Store {
  /** For people: what this store is, such as `file:natto.db`. */
  readonly description: string;

  /** Returns the object or undefined. */
  get<K extends Kind>(key: ObjectKey<K>): Promise<ObjectOf<K> | undefined>;

  list<K extends Kind>(selection: Selection<K>): Promise<ListResult<K>>;

  /** Creates an object, without its status. Throws `AlreadyExists`, or `Invalid`. Returns it as stored. */
  create<K extends Kind>(draft: Draft<K>): Promise<ObjectOf<K>>;

  /**
   * Replaces spec, labels and annotations; the status stays as it is. `generation` grows when the spec differs; when nothing
   * differs nothing is written and the stored object is returned. A non-empty `metadata.resourceVersion` makes the write
   * conditional: `Conflict` when the object has another one. Throws `NotFound`.
   */
  update<K extends Kind>(draft: Draft<K>): Promise<ObjectOf<K>>;

  /** The same for the status: spec, labels and annotations stay as they are. */
  updateStatus<K extends Kind>(draft: Draft<K>): Promise<ObjectOf<K>>;

  /** Deletes an object and returns its last state; with `resourceVersion` only if it still has that one. Throws `NotFound`, `Conflict`. */
  delete<K extends Kind>(key: ObjectKey<K>, resourceVersion?: string): Promise<ObjectOf<K>>;

  /**
   * Does all of the changes or none, at most `MAX_CHANGES`, of different objects. Returns the objects as the single methods would,
   * in the same order. Throws what those throw; `TooLarge`, `BadRequest`.
   */
  commit(changes: readonly StoreChange[]): Promise<readonly AnyObject[]>;

  /**
   * The same store for a writer whose term may end: each of its writes takes place only while the fence holds, which is checked in the
   * same transaction; else it throws `Fenced`. Writes that change nothing are not checked. Reads are as before. Closing either closes both.
   */
  fenced(fence: Fence): Store;

  /**
   * Yields every change of the selected objects after revision `from`, until `signal` aborts (then it ends without an error).
   * Throws `Expired` when the changes after `from` are no longer kept, `Unavailable` when the store cannot be reached. A
   * bookmark is sent at least when the watch has caught up with the time of its start.
   */
  watch<K extends Kind>(
    selection: Selection<K>,
    from: string,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<K>>;

  /** Of stores that can forget by themselves: a new lease, which ends unless it is prolonged in time. */
  readonly grantLease?: (ttlMs: number) => Promise<StoreLease>;

  close(): Promise<void>;
}

/** A watch that is served over a network carries a bookmark at least this often (ms), so that a quiet store is told from a dead connection. */
export const BOOKMARK_MS = 5_000;

/** `kind/namespace/name`: the identity of an object in maps and in stores. */
export function keyText(key: ObjectKey): string {
  return `${key.kind}/${key.namespace ?? ""}/${key.name}`;
}

/** The key of an object. */
export function keyOf(object: AnyObject): ObjectKey {
  return { kind: object.kind, namespace: object.metadata.namespace, name: object.metadata.name };
}
