/**
 * The embedded store: one file, one process. A write is on the disk when it is acknowledged (WAL, synchronous=FULL); the
 * process may be killed at any time.
 */
import { DatabaseSync } from "node:sqlite";
import { asNattoError, NattoError } from "../errors.ts";
import { type ChangeLog, makeChangeFeed } from "./change-feed.ts";
import {
  type Change,
  canTakePlace,
  DEFAULT_HISTORY,
  firstRevision,
  type Guard,
  type HistoryLimits,
  isAt,
  type KeyValueStore,
  type Write,
} from "./key-value.ts";
import { makeObjectStore, type ObjectStoreOptions } from "./object-store.ts";
import type { Store } from "./store.ts";

export interface SqliteStoreOptions extends ObjectStoreOptions {
  readonly history?: HistoryLimits;
  /** How often an idle watcher gets a bookmark. */
  readonly bookmarkMs?: number;
}

/** Marks the file as Natto's (`PRAGMA application_id`). */
const APPLICATION_ID = 0x4e61746f;
const SCHEMA_VERSION = 1;

/** `changes` is never empty: a new store begins with a row that changes nothing and holds the first revision. */
const SCHEMA = `
  CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE changes (
    revision INTEGER PRIMARY KEY, type TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, bytes INTEGER NOT NULL
  );
`;

/**
 * Opens or makes the file. Throws `Environment` when it cannot be used: another process has it open, it is not a Natto store, it
 * was written by a newer Natto, or the disk does not let us.
 */
export function openSqliteStore(path: string, options: SqliteStoreOptions = {}): Store {
  if (path === "") {
    throw new NattoError("BadRequest", "the embedded store needs the path of its file; write file:PATH");
  }
  const database = openDatabase(path);
  return makeObjectStore(makeSqliteDriver(path, database, options), options);
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // The lock is taken by the first transaction and held until close; the kernel drops it when the process dies.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    database.exec("BEGIN EXCLUSIVE");
    prepareSchema(path, database);
    database.exec("COMMIT");
    return database;
  } catch (thrown) {
    database?.close();
    throw openingError(path, thrown);
  }
}

function prepareSchema(path: string, database: DatabaseSync): void {
  const application = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  const tables = database.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.n;
  if (application === 0 && version === 0 && tables === 0) {
    database.exec(SCHEMA);
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`);
    database.prepare("INSERT INTO changes VALUES (?, '', '', '', 0)").run(firstRevision(Date.now()));
  } else if (application !== APPLICATION_ID) {
    throw new NattoError("Environment", `${path} is a database of another program; choose another file`);
  } else if (version > SCHEMA_VERSION) {
    throw new NattoError(
      "Environment",
      `${path} was written by a newer Natto (schema version ${version}; this one knows up to ${SCHEMA_VERSION}); ` +
        "use that version, or restore a copy from before the upgrade",
    );
  }
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function openingError(path: string, thrown: unknown): NattoError {
  if (thrown instanceof NattoError) return thrown;
  const { message } = asNattoError(thrown);
  const environment = (text: string) => new NattoError("Environment", text, [], thrown);
  if (/locked|busy/.test(message)) {
    return environment(
      `${path} is in use by another process; stop that process, or reach its store through natto server`,
    );
  }
  if (/not a database/.test(message)) {
    return environment(`${path} is not a database file; choose another file, or remove it`);
  }
  return environment(`cannot open ${path}: ${message}; check that the folder exists and may be written`);
}

function makeSqliteDriver(path: string, database: DatabaseSync, options: SqliteStoreOptions): KeyValueStore {
  const log = makeSqliteLog(database, options.history ?? DEFAULT_HISTORY);
  const feed = makeChangeFeed(log, options.bookmarkMs ?? 5_000);
  const sql = {
    get: database.prepare("SELECT key, value, revision FROM entries WHERE key = ?"),
    range: database.prepare("SELECT key, value, revision FROM entries WHERE key >= ? AND key < ?"),
    put: database.prepare(
      "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    ),
    remove: database.prepare("DELETE FROM entries WHERE key = ?"),
  };

  /** Runs the work unless the store is closed; what SQLite throws becomes `Unavailable`. */
  async function run<T>(work: () => T): Promise<T> {
    if (!database.isOpen) throw new NattoError("Unavailable", `the store ${path} was closed; open it again`);
    try {
      return work();
    } catch (thrown) {
      if (database.isTransaction) database.exec("ROLLBACK");
      const { message } = asNattoError(thrown);
      throw new NattoError("Unavailable", `${path}: ${message}; check the disk`, [], thrown);
    }
  }

  const get = (key: string) => entryOf(sql.get.get(key));
  /** Writes within the transaction, and returns the state of the log that holds once it is committed. */
  function put({ key, value }: Write, state: LogState): LogState {
    const before = get(key);
    const revision = state.current + 1;
    const type = value === undefined ? "DELETED" : before === undefined ? "ADDED" : "MODIFIED";
    if (value === undefined) sql.remove.run(key);
    else sql.put.run(key, value, revision);
    return log.append(state, { type, key, value: value ?? before?.value ?? "", revision });
  }

  return {
    description: `file:${path}`,
    get: (key) => run(() => get(key)),
    range: (prefix) =>
      run(() => ({
        entries: sql.range.all(prefix, prefixEnd(prefix)).flatMap((row) => entryOf(row) ?? []),
        revision: log.current(),
      })),
    commit: (writes, guards = []) =>
      run(() => {
        const holds = (guard: Guard): boolean => isAt(guard, get(guard.key));
        if (!writes.every(canTakePlace) || ![...writes, ...guards].every(holds)) return undefined;
        database.exec("BEGIN");
        let state = log.state();
        const revisions = writes.map((write) => {
          state = put(write, state);
          return state.current;
        });
        database.exec("COMMIT");
        log.committed(state);
        for (const [i, { key }] of writes.entries()) feed.announce(key, revisions[i]!);
        return revisions;
      }),
    watch: (prefix, from, signal) => feed.follow(prefix, from, signal),
    close: async () => {
      feed.close();
      if (database.isOpen) database.close();
    },
  };
}

/** The first key after all that begin with the prefix; prefixes end in ASCII. */
function prefixEnd(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}

type Row = ReturnType<ReturnType<DatabaseSync["prepare"]>["get"]>;

function entryOf(row: Row) {
  return row && { key: String(row.key), value: String(row.value), revision: Number(row.revision) };
}

function changeOf(row: NonNullable<Row>): Change {
  const type = row.type === "ADDED" || row.type === "DELETED" ? row.type : "MODIFIED";
  return { type, key: String(row.key), value: String(row.value), revision: Number(row.revision) };
}

/** Revisions `compacted` + 1 to `current` are kept; the row of `compacted` itself stays as the mark of where they begin. */
interface LogState {
  readonly current: number;
  readonly compacted: number;
  readonly bytes: number;
}

interface SqliteLog extends ChangeLog {
  state(): LogState;
  /** Appends within the writer's transaction and returns the state that holds once it is committed. */
  append(state: LogState, change: Change): LogState;
  committed(state: LogState): void;
}

function makeSqliteLog(database: DatabaseSync, limits: HistoryLimits): SqliteLog {
  const sql = {
    insert: database.prepare("INSERT INTO changes VALUES (?, ?, ?, ?, ?)"),
    read: database.prepare(
      "SELECT type, key, value, revision FROM changes WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision LIMIT ?",
    ),
    trim: database.prepare("DELETE FROM changes WHERE revision = ? RETURNING bytes"),
  };
  const bounds = database
    .prepare("SELECT min(revision) AS low, max(revision) AS high, sum(bytes) AS bytes FROM changes")
    .get();
  let state: LogState = {
    current: Number(bounds?.high),
    compacted: Number(bounds?.low),
    bytes: Number(bounds?.bytes),
  };
  return {
    current: () => state.current,
    compacted: () => state.compacted,
    state: () => state,
    append: (before, { type, key, value, revision }) => {
      const size = Buffer.byteLength(value);
      sql.insert.run(revision, type, key, value, size);
      let { compacted } = before;
      let bytes = before.bytes + size;
      while (
        revision - compacted > limits.maxChanges ||
        (bytes > limits.maxBytes && compacted < revision - 1)
      ) {
        bytes -= Number(sql.trim.get(compacted)?.bytes);
        compacted++;
      }
      return { current: revision, compacted, bytes };
    },
    committed: (next) => {
      state = next;
    },
    read: (prefix, from, limit) => sql.read.all(from, prefix, prefixEnd(prefix), limit).map(changeOf),
  };
}
