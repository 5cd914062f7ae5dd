/**
 * A mirror: the objects of a selection, kept equal to the store by list and watch (what Kubernetes calls an informer). When the
 * store cannot be reached it keeps what it knew last, says since when, and tries again; when the watch cannot continue
 * it lists again and reports the difference.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError, type NattoError } from "../errors.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import { byNamespaceAndName } from "./object-store.ts";
import { pause } from "./pause.ts";
import { type Damage, keyOf, keyText, type Selection, type Store, type WatchEvent } from "./store.ts";

export type MirrorChange<K extends Kind> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: ObjectOf<K> }
  /** `synced` or `staleSince` has changed. */
  | { readonly type: "STATE" };

export interface Mirror<K extends Kind> {
  readonly selection: Selection<K>;
  /** Whether a list has ever been received; until then `items` is empty without meaning anything. */
  synced(): boolean;
  /** Milliseconds since 1970 at which the contact to the store was lost; undefined while it is there. */
  staleSince(): number | undefined;
  /** The last failure, while stale. */
  lastError(): NattoError | undefined;
  /** Sorted by namespace, then name. */
  items(): readonly ObjectOf<K>[];
  get(name: string, namespace?: string): ObjectOf<K> | undefined;
  /** Calls back after each change, until the returned function is called. Listeners must not throw. */
  onChange(listener: (change: MirrorChange<K>) => void): () => void;
  /** Resolves when `synced`, or when the signal aborts or the mirror is closed. */
  untilSynced(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface MirrorOptions {
  readonly clock?: Clock;
  /** The wait before the first retry, and the longest: it doubles in between. */
  readonly retryMs?: { readonly first: number; readonly max: number };
}

const DEFAULT_RETRY_MS = { first: 100, max: 5_000 };

/** Starts at once and never throws: failures are shown by `staleSince` and `lastError`. */
export function openMirror<K extends Kind>(
  store: Store,
  selection: Selection<K>,
  options: MirrorOptions = {},
): Mirror<K> {
  const replica = makeReplica<K>();
  const ending = new AbortController();
  const running = follow(store, selection, replica, options, ending.signal);
  return {
    selection,
    synced: () => replica.state().synced,
    staleSince: () => replica.state().stale?.since,
    lastError: () => replica.state().stale?.error,
    items: replica.items,
    get: (name, namespace) => replica.get(keyText({ kind: selection.kind, namespace, name })),
    onChange: replica.onChange,
    untilSynced: (signal) =>
      untilSynced(replica, signal ? AbortSignal.any([signal, ending.signal]) : ending.signal),
    close: async () => {
      ending.abort();
      replica.silence();
      await running;
    },
  };
}

/** Keeps the replica equal to the store until the signal aborts. */
async function follow<K extends Kind>(
  store: Store,
  selection: Selection<K>,
  replica: Replica<K>,
  { clock = SYSTEM_CLOCK, retryMs = DEFAULT_RETRY_MS }: MirrorOptions,
  signal: AbortSignal,
): Promise<void> {
  /** How far the replica is complete; undefined: a list is needed. */
  let from: string | undefined;
  let waitMs = retryMs.first;
  while (!signal.aborted) {
    try {
      if (from === undefined) {
        const list = await store.list(selection);
        if (signal.aborted) return;
        replica.replace(list.items, list.damaged);
        replica.move({ synced: true, stale: undefined });
        from = list.resourceVersion;
      }
      for await (const event of store.watch(selection, from, signal)) {
        replica.move({ synced: true, stale: undefined });
        replica.take(event);
        from = event.resourceVersion;
        waitMs = retryMs.first;
      }
    } catch (thrown) {
      const error = asNattoError(thrown);
      // What cannot be retried as it is gets a fresh start: a list.
      if (!error.transient) from = undefined;
      if (error.code !== "Expired") {
        const { synced, stale } = replica.state();
        replica.move({ synced, stale: { since: stale?.since ?? clock.now(), error } });
      }
    }
    await pause(waitMs, signal, clock);
    waitMs = Math.min(waitMs * 2, retryMs.max);
  }
}

/** The objects, the state and the listeners. */
function makeReplica<K extends Kind>() {
  const objects = new Map<string, ObjectOf<K>>();
  const listeners = new Set<(change: MirrorChange<K>) => void>();
  /** The objects in their order; undefined after a change. */
  let sorted: readonly ObjectOf<K>[] | undefined;
  let state: MirrorState = { synced: false, stale: undefined };

  const tell = (change: MirrorChange<K>): void => {
    for (const listener of [...listeners]) listener(change);
  };

  function put(object: ObjectOf<K>): void {
    const key = keyText(keyOf(object));
    const before = objects.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    objects.set(key, object);
    sorted = undefined;
    tell({ type: before === undefined ? "ADDED" : "MODIFIED", object });
  }

  function drop(object: ObjectOf<K>): void {
    if (!objects.delete(keyText(keyOf(object)))) return;
    sorted = undefined;
    tell({ type: "DELETED", object });
  }

  return {
    state: () => state,
    move: (next: MirrorState): void => {
      const same = next.synced === state.synced && next.stale?.since === state.stale?.since;
      state = next;
      if (!same) tell({ type: "STATE" });
    },
    /** What is damaged now stays as it was. */
    replace: (items: readonly ObjectOf<K>[], damaged: readonly Damage[]): void => {
      const listed = new Set([...items.map(keyOf), ...damaged.map(({ key }) => key)].map(keyText));
      for (const [key, object] of [...objects]) if (!listed.has(key)) drop(object);
      for (const item of items) put(item);
    },
    take: (event: WatchEvent<K>): void => {
      if (event.type === "DELETED") drop(event.object);
      else if (event.type !== "BOOKMARK") put(event.object);
    },
    items: (): readonly ObjectOf<K>[] => {
      sorted ??= [...objects.values()].sort(byNamespaceAndName);
      return sorted;
    },
    get: (key: string): ObjectOf<K> | undefined => objects.get(key),
    onChange: (listener: (change: MirrorChange<K>) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    silence: (): void => listeners.clear(),
  };
}

type Replica<K extends Kind> = ReturnType<typeof makeReplica<K>>;

function untilSynced<K extends Kind>(replica: Replica<K>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (!replica.state().synced && !signal.aborted) return;
      stop();
      signal.removeEventListener("abort", check);
      resolve();
    };
    const stop = replica.onChange(check);
    signal.addEventListener("abort", check);
    check();
  });
}

interface MirrorState {
  readonly synced: boolean;
  readonly stale: { readonly since: number; readonly error: NattoError } | undefined;
}
