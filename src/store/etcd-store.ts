/**
 * The store in a cluster of etcd: an object is a key `PREFIX/Kind/namespace/name` with the object as JSON; revisions are
 * etcd's own. Reads are linearizable.
 */
import { NattoError } from "../errors.ts";
import { readNamedFile } from "../named-file.ts";
import { type EtcdClient, openEtcdClient } from "./etcd-client.ts";
import { etcdLeases } from "./etcd-leases.ts";
import { type PutRequest, RANGE, type RangeResponse, TXN, type TxnRequest } from "./etcd-rpc.ts";
import type { KeyRange } from "./etcd-session.ts";
import { type EtcdSettings, etcdSettings } from "./etcd-settings.ts";
import { watchRange } from "./etcd-watch.ts";
import { canTakePlace, type Entry, type Guard, isAt, type KeyValueStore, type Write } from "./key-value.ts";
import { makeObjectStore, type ObjectStoreOptions } from "./object-store.ts";
import type { Store } from "./store.ts";

export interface EtcdStoreOptions extends ObjectStoreOptions {
  /** How often an idle watcher gets a bookmark. */
  readonly bookmarkMs?: number;
  /** Which member to begin with, by its place in the address; default: a random one, so that many clients spread. */
  readonly startAt?: number;
}

/** A list is read in pages of about this size, however large its values. */
const PAGE_BYTES = 2 * 1024 * 1024;
const FIRST_PAGE_KEYS = 500;
const MAX_PAGE_KEYS = 5_000;
/** A list whose revision is compacted while its pages are read begins anew, at most so often. */
const MAX_LIST_ATTEMPTS = 3;

/**
 * `url`: see `etcdSettings`; files that it names are read at once. Nothing is sent before the first call. Throws `BadRequest`,
 * `Environment`.
 */
export function openEtcdStore(
  url: string,
  options: EtcdStoreOptions = {},
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Store {
  const settings = etcdSettings(url, environment, readNamedFile);
  return makeObjectStore(makeEtcdDriver(settings, options), options);
}

export function makeEtcdDriver(settings: EtcdSettings, options: EtcdStoreOptions = {}): KeyValueStore {
  const { endpoints, prefix, deadlineMs } = settings;
  const startAt = options.startAt ?? Math.floor(Math.random() * endpoints.length);
  const client = openEtcdClient(settings, startAt);
  const prefixLength = Buffer.byteLength(prefix);
  const bookmarkMs = options.bookmarkMs ?? 5_000;
  return {
    description: client.description,
    get: async (key) => (await read(client, prefix, key)).entry,
    range: (below) => list(client, prefix, below),
    commit: (writes, guards = []) => commit(client, prefix, writes, guards),
    watch: (below, from, signal) =>
      watchRange(client, rangeOf(prefix + below), from, signal, { bookmarkMs, deadlineMs, prefixLength }),
    leases: etcdLeases(client),
    close: async () => client.close(),
  };
}

/** All keys that begin with the prefix, which ends in ASCII. */
export function rangeOf(prefix: string): KeyRange {
  const key = Buffer.from(prefix);
  const range_end = Buffer.from(key);
  range_end[key.length - 1]! += 1;
  return { key, range_end };
}

async function read(
  client: EtcdClient,
  prefix: string,
  key: string,
): Promise<{ readonly entry: Entry | undefined; readonly revision: number }> {
  const { kvs, header } = await client.read(RANGE, { key: Buffer.from(prefix + key) });
  const revision = Number(header.revision);
  const kv = kvs[0];
  return {
    entry: kv && { key, value: kv.value.toString("utf8"), revision: Number(kv.mod_revision) },
    revision,
  };
}

async function list(
  client: EtcdClient,
  prefix: string,
  below: string,
): Promise<{ readonly entries: readonly Entry[]; readonly revision: number }> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readPages(client, rangeOf(prefix + below), Buffer.byteLength(prefix));
    } catch (thrown) {
      if (!(thrown instanceof NattoError) || thrown.code !== "Expired") throw thrown;
      if (attempt < MAX_LIST_ATTEMPTS) continue;
      throw new NattoError(
        "Unavailable",
        `${client.description}: compacted ${attempt} times while a list was read; let etcd keep more of its past (--auto-compaction-retention)`,
        [],
        thrown,
      );
    }
  }
}

/** Reads page after page at the revision of the first one. Throws `Expired` when it is compacted meanwhile. */
async function readPages(
  client: EtcdClient,
  range: KeyRange,
  prefixLength: number,
): Promise<{ readonly entries: readonly Entry[]; readonly revision: number }> {
  const entries: Entry[] = [];
  let { key } = range;
  let limit = FIRST_PAGE_KEYS;
  let revision = 0;
  for (;;) {
    const page: RangeResponse = await client.read(RANGE, { ...range, key, limit, revision });
    revision ||= Number(page.header.revision);
    for (const kv of page.kvs) {
      entries.push({
        key: kv.key.subarray(prefixLength).toString("utf8"),
        value: kv.value.toString("utf8"),
        revision: Number(kv.mod_revision),
      });
    }
    const last = page.kvs.at(-1);
    if (!page.more || last === undefined) return { entries, revision };
    // The least key after the last one.
    key = Buffer.concat([last.key, Buffer.alloc(1)]);
    limit = nextLimit(page);
  }
}

/** How many keys the next page should have, judging by the values of the last one. */
function nextLimit({ kvs }: RangeResponse): number {
  const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  return Math.max(1, Math.min(MAX_PAGE_KEYS, Math.floor((PAGE_BYTES * kvs.length) / bytes)));
}

/**
 * A transaction whose outcome is unknown is looked at: if it took place, that is its answer; if not, it is sent again, which the
 * preconditions make safe even if the first one is still on its way.
 */
async function commit(
  client: EtcdClient,
  prefix: string,
  writes: readonly Write[],
  guards: readonly Guard[],
): Promise<readonly number[] | undefined> {
  if (!writes.every(canTakePlace)) return undefined;
  const transaction = transactionOf(prefix, writes, guards);
  const end = performance.now() + client.patienceMs;
  let doubt: NattoError | undefined;
  let revision = 0;
  const entriesOf = async (keys: readonly Guard[]): Promise<readonly (Entry | undefined)[]> => {
    const answers = await Promise.all(keys.map(({ key }) => read(client, prefix, key)));
    for (const answer of answers) revision = Math.max(revision, answer.revision);
    return answers.map(({ entry }) => entry);
  };
  for (;;) {
    const outcome = await client.write(TXN, transaction);
    if (outcome.status === "answered" && outcome.answer.succeeded) {
      return writes.map(() => Number(outcome.answer.header.revision));
    }
    if (outcome.status === "unknown") doubt = outcome.error;
    if (doubt === undefined) return undefined;
    // Guards before keys: a guard that is lost by the time at which the keys are seen untouched keeps them so for ever.
    const lost = (await entriesOf(guards)).some((entry, i) => !isAt(guards[i]!, entry));
    const found = await entriesOf(writes);
    const verdict = settleAll(writes, found);
    if (verdict === "done") return writes.map((_, i) => found[i]?.revision ?? revision);
    if (verdict === "refused" || (verdict === "pending" && lost)) return undefined;
    if (verdict === "unclear" || performance.now() > end) throw doubt;
  }
}

/**
 * What became of a transaction: all of its writes have taken place or none, so a write that can be told tells of all. `refused`: it has
 * not taken place, and never will, since one of its keys has moved on.
 */
export function settleAll(
  writes: readonly Write[],
  found: readonly (Entry | undefined)[],
): "done" | "pending" | "refused" | "unclear" {
  const verdicts = writes.map((write, i) => settle(write, found[i]));
  if (verdicts.includes("done")) return "done";
  if (!verdicts.includes("pending")) return "unclear";
  return writes.every((write, i) => isAt(write, found[i])) ? "pending" : "refused";
}

/**
 * What became of a write, judging by what its key holds now. `unclear`: somebody may have written since, and whether this write came
 * before that cannot be seen. A key that was to be created and is not there may have been deleted again.
 */
export function settle({ value, expected }: Write, found: Entry | undefined): "done" | "pending" | "unclear" {
  if (found?.revision === expected) return "pending";
  const created = expected === 0 && found === undefined;
  return found?.value === value && !created ? "done" : "unclear";
}

function transactionOf(prefix: string, writes: readonly Write[], guards: readonly Guard[]): TxnRequest {
  const keyOf = (name: string): Buffer => Buffer.from(prefix + name);
  return {
    compare: [...writes, ...guards].map(({ key, expected }) => ({
      result: "EQUAL",
      target: "MOD",
      key: keyOf(key),
      mod_revision: expected,
    })),
    success: writes.map(({ key, value, expected, lease }) =>
      value === undefined
        ? { request_delete_range: { key: keyOf(key) } }
        : { request_put: { key: keyOf(key), value: Buffer.from(value), ...bond(lease, expected) } },
    ),
  };
}

/** To etcd a put without a lease means that the key is bound to none from now on, so that it would outlive its writer. */
function bond(lease: string | undefined, expected: number): Pick<PutRequest, "lease" | "ignore_lease"> {
  if (lease !== undefined) return { lease };
  return expected === 0 ? {} : { ignore_lease: true };
}
