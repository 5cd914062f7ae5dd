/**
 * One watch on one member of etcd.
 *
 * What etcd does not warn of, and how it is met here:
 * - A watch from a revision that the store has not reached waits in silence: the revision is looked up first (`Expired`).
 * - A deletion at the very revision to which the store is compacted is left out of watches that begin there (etcd-io/etcd#18089):
 *   before anything is passed on, a read shows that the revision before it is still kept.
 * - Progress on demand may overtake changes (etcd-io/etcd#15220), so it is not asked for. Progress that etcd sends by itself is exact.
 * - Changes for a watcher that does not read pile up in etcd's memory. So the watch of a slow reader is ended; the reader
 *   takes it up again where it is, or is then told `Expired`.
 */
import { status as Status } from "@grpc/grpc-js";
import type { EtcdClient, Member } from "./etcd-client.ts";
import { rpcError } from "./etcd-failure.ts";
import { makeInbox } from "./etcd-inbox.ts";
import { RANGE, type RangeRequest, type RangeResponse, type WatchResponse } from "./etcd-rpc.ts";
import { type ReaderState, readMessage, type WatchStep } from "./etcd-watch-reader.ts";
import type { ChangeBatch } from "./key-value.ts";
import { pause } from "./pause.ts";

/** The keys that are watched, as etcd takes them. */
export interface KeyRange {
  readonly key: Buffer;
  readonly range_end: Buffer;
}

export interface SessionOptions {
  /** How often an idle watcher is told how far it is complete, and its member is checked. */
  readonly bookmarkMs: number;
  /** How long opening a watch may take. */
  readonly deadlineMs: number;
  /** How many bytes of every key are the store's prefix. */
  readonly prefixLength: number;
}

export interface Session {
  readonly client: EtcdClient;
  readonly member: Member;
  readonly range: KeyRange;
  readonly from: number;
  readonly ending: AbortSignal;
  readonly options: SessionOptions;
}

/** So much may wait for a slow reader before its watch is ended. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** What a change takes besides its value. */
const BYTES_PER_CHANGE = 200;
/** How often it is asked whether the past has been told; twice as long each time. */
const CATCH_UP_MS = { first: 10, max: 1_000 };

/** Ends without an error when the reader was too slow, or `ending` aborts. Throws `Expired`, and what `client.failed` takes. */
export async function* watchOnce(session: Session): AsyncGenerator<ChangeBatch> {
  const { from, ending } = session;
  const stopping = new AbortController();
  const until = AbortSignal.any([ending, stopping.signal]);
  const stream = await openStream(session, until);
  let proved = false;
  try {
    for (;;) {
      const { item, position } = await stream.take();
      switch (item.type) {
        case "created":
          // A member that lags behind `from` has the watch wait for it; that the whole store does not, is looked up.
          if (item.revision < from) await countAt(session, from);
          proved = item.revision <= from;
          if (proved) yield { changes: [], revision: from };
          void checkMember(session, stream, proved, until);
          break;
        case "changes":
        case "progress":
        case "alive":
          if (!proved) await countAt(session, from);
          proved = true;
          yield { changes: item.type === "changes" ? item.changes : [], revision: position };
          break;
        case "canceled":
          // etcd refuses a watch with an old token in the words for missing permission; a read is refused in words that differ.
          await countAt(session, 0);
          throw rpcError(Status.UNAVAILABLE, `the watch was canceled: ${item.reason}`);
        case "failed":
          throw item.thrown;
        case "end":
          return;
      }
    }
  } finally {
    stopping.abort();
  }
}

type Item =
  | Exclude<WatchStep, { readonly type: "held" }>
  /** The member answers, and nothing is known that has not been told. */
  | { readonly type: "alive" }
  | { readonly type: "failed"; readonly thrown: unknown }
  /** The reader is too slow, or has gone. */
  | { readonly type: "end" };

interface Stream {
  take(): Promise<{
    readonly item: Item;
    /** With this item and those before it, everything up to here has been told. */
    readonly position: number;
  }>;
  put(item: Item): void;
  /** Whether nothing waits to be taken. */
  isEmpty(): boolean;
  /** The position of the last item. */
  position(): number;
}

async function openStream(session: Session, until: AbortSignal): Promise<Stream> {
  const { client, member, range, from, options } = session;
  const call = await client.openWatch(member);
  const inbox = makeInbox<Awaited<ReturnType<Stream["take"]>>>();
  let state: ReaderState = { position: from, held: [] };
  let over = false;

  function put(item: Item): void {
    if (over) return;
    over = item.type === "failed" || item.type === "end" || item.type === "canceled";
    inbox.put({ item, position: state.position }, sizeOf(item));
    if (over) finish();
    else if (inbox.waiting() > MAX_WAITING_BYTES) put({ type: "end" });
  }

  function receive(message: WatchResponse): void {
    clearTimeout(opening);
    if (over) return;
    try {
      const read = readMessage(state, message, options.prefixLength);
      state = read.state;
      if (read.step.type !== "held") put(read.step);
    } catch (thrown) {
      put({ type: "failed", thrown });
    }
  }

  const stop = (): void => put({ type: "end" });
  const fail = (code: number, text: string): void => put({ type: "failed", thrown: rpcError(code, text) });
  const opening = setTimeout(
    () => fail(Status.DEADLINE_EXCEEDED, `no watch within ${options.deadlineMs} ms`),
    options.deadlineMs,
  );
  function finish(): void {
    clearTimeout(opening);
    until.removeEventListener("abort", stop);
    call.cancel();
  }

  call.on("data", receive);
  call.on("error", (thrown) => put({ type: "failed", thrown }));
  call.on("end", () => fail(Status.UNAVAILABLE, "the watch was ended"));
  call.write({
    create_request: {
      ...range,
      start_revision: from + 1,
      progress_notify: true,
      prev_kv: true,
      fragment: true,
    },
  });
  until.addEventListener("abort", stop);
  if (until.aborted) stop();
  return {
    take: inbox.take,
    put,
    isEmpty: () => inbox.waiting() === 0,
    position: () => state.position,
  };
}

function sizeOf(item: Item): number {
  return item.type === "changes" ? item.bytes + item.changes.length * BYTES_PER_CHANGE : 1;
}

/**
 * Puts `alive` into the stream once everything up to now has been told, and from then on every `bookmarkMs`; `failed` when the
 * member does not answer. When the last thing that happened is a deletion, the first `alive` may come before it.
 */
async function checkMember(
  session: Session,
  stream: Stream,
  caughtUp: boolean,
  until: AbortSignal,
): Promise<void> {
  const { client, member, range, from, options } = session;
  const ask = (request: Partial<RangeRequest>): Promise<RangeResponse> =>
    client.readAt(member, RANGE, { ...range, limit: 1, keys_only: true, ...request });
  try {
    let before = caughtUp ? 0 : await countAt(session, from);
    for (let waitMs = CATCH_UP_MS.first; ; waitMs = Math.min(waitMs * 2, CATCH_UP_MS.max)) {
      await pause(caughtUp ? options.bookmarkMs : waitMs, until);
      if (until.aborted) return;
      if (caughtUp) {
        await ask({});
      } else {
        const position = stream.position();
        if (position !== from) before = -1;
        const { kvs, count } = await ask({ min_mod_revision: position + 1 });
        caughtUp = kvs.length === 0 && (before === -1 || before === Number(count));
      }
      if (caughtUp && stream.isEmpty()) stream.put({ type: "alive" });
    }
  } catch (thrown) {
    stream.put({ type: "failed", thrown });
  }
}

/** How many keys there were at a revision; 0: now. Throws (gRPC's OUT_OF_RANGE) when it is no longer kept, or has not been reached. */
async function countAt({ client, member, range }: Session, revision: number): Promise<number> {
  const { count } = await client.readAt(member, RANGE, { ...range, revision, count_only: true });
  return Number(count);
}
