/** The store in the memory of this process, for tests and trials: everything is gone when the process ends. */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { NattoError } from "../errors.ts";
import { makeChangeFeed } from "./change-feed.ts";
import {
  type Change,
  canTakePlace,
  DEFAULT_HISTORY,
  type Entry,
  firstRevision,
  type Guard,
  type HistoryLimits,
  isAt,
  type KeyValueStore,
  type Write,
} from "./key-value.ts";
import { makeObjectStore, type ObjectStoreOptions } from "./object-store.ts";
import type { Store } from "./store.ts";

export interface MemoryStoreOptions extends ObjectStoreOptions {
  readonly history?: HistoryLimits;
  /** How often an idle watcher gets a bookmark. */
  readonly bookmarkMs?: number;
  readonly clock?: Clock;
}

export function openMemoryStore(options: MemoryStoreOptions = {}): Store {
  return makeObjectStore(makeMemoryDriver(options), options);
}

function makeMemoryDriver(options: MemoryStoreOptions): KeyValueStore {
  const entries = new Map<string, Entry>();
  const { clock = SYSTEM_CLOCK, history = DEFAULT_HISTORY, bookmarkMs = 5_000 } = options;
  const log = makeMemoryLog(firstRevision(clock.now()), history);
  const feed = makeChangeFeed(log, bookmarkMs, clock);
  let closed = false;

  const open = <T>(work: () => T): Promise<T> =>
    closed
      ? Promise.reject(new NattoError("Unavailable", "the memory store was closed; open a new one"))
      : Promise.resolve(work());

  function put({ key, value }: Write): number {
    const before = entries.get(key);
    const revision = log.current() + 1;
    if (value !== undefined) {
      entries.set(key, { key, value, revision });
      log.append({ type: before ? "MODIFIED" : "ADDED", key, value, revision });
    } else if (before) {
      entries.delete(key);
      log.append({ type: "DELETED", key, value: before.value, revision });
    }
    feed.announce(key, revision);
    return revision;
  }

  return {
    description: "memory:",
    get: (key) => open(() => entries.get(key)),
    range: (prefix) =>
      open(() => ({
        entries: [...entries.values()].filter((entry) => entry.key.startsWith(prefix)),
        revision: log.current(),
      })),
    commit: (writes, guards = []) =>
      open(() => {
        const holds = (guard: Guard): boolean => isAt(guard, entries.get(guard.key));
        if (!writes.every(canTakePlace) || ![...writes, ...guards].every(holds)) return undefined;
        return writes.map(put);
      }),
    watch: (prefix, from, signal) => feed.follow(prefix, from, signal),
    close: async () => {
      closed = true;
      feed.close();
    },
  };
}

/** Holds the changes of consecutive revisions; forgets the oldest when a limit is passed. */
function makeMemoryLog(base: number, limits: HistoryLimits) {
  const changes: Change[] = [];
  let compacted = base;
  let bytes = 0;
  return {
    current: () => compacted + changes.length,
    compacted: () => compacted,
    append: (change: Change) => {
      changes.push(change);
      bytes += change.value.length;
      if (changes.length <= limits.maxChanges && bytes <= limits.maxBytes) return;
      // Forgets an eighth more than it must, so that the array is not moved at every write.
      let count = Math.max(1, Math.floor(limits.maxChanges / 8));
      let freed = changes.slice(0, count).reduce((sum, c) => sum + c.value.length, 0);
      while (bytes - freed > limits.maxBytes && count < changes.length - 1)
        freed += changes[count++]!.value.length;
      changes.splice(0, count);
      bytes -= freed;
      compacted += count;
    },
    read: (prefix: string, from: number, limit: number) => {
      const found: Change[] = [];
      for (let i = from - compacted; i < changes.length && found.length < limit; i++) {
        const change = changes[i]!;
        if (change.key.startsWith(prefix)) found.push(change);
      }
      return found;
    },
  };
}
