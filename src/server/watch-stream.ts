/**
 * A watch as a stream of JSON lines, `{"type", "object"}` as Kubernetes has them. A bookmark is sent at least every
 * `BOOKMARK_MS`, so that a client can tell a quiet store from a dead connection.
 */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { asNattoError } from "../errors.ts";
import type { Kind } from "../model/kinds.ts";
import { API_VERSION } from "../model/meta.ts";
import { statusOf } from "../model/status.ts";
import type { Selection, Store, WatchEvent } from "../store/store.ts";

export interface WatchStreamOptions {
  readonly bookmarkMs: number;
  /** Aborts when the client has gone or the server shuts down. */
  readonly signal: AbortSignal;
}

/** An open watch that has already shown that it works. */
export interface OpenedWatch<K extends Kind> {
  readonly selection: Selection<K>;
  readonly first: IteratorResult<WatchEvent<K>>;
  readonly rest: AsyncIterator<WatchEvent<K>>;
}

/** Opens the watch and waits for its first event, so that a watch that cannot be is answered as any other request. */
export async function openWatch<K extends Kind>(
  store: Store,
  selection: Selection<K>,
  from: string,
  signal: AbortSignal,
): Promise<OpenedWatch<K>> {
  const rest = store.watch(selection, from, signal)[Symbol.asyncIterator]();
  return { selection, first: await rest.next(), rest };
}

/** Writes the watch to the response until it ends; a failure on the way is its last line. */
export async function streamWatch<K extends Kind>(
  watch: OpenedWatch<K>,
  response: ServerResponse,
  { bookmarkMs, signal }: WatchStreamOptions,
): Promise<void> {
  const { kind } = watch.selection;
  // Without `close` the connection would be kept for another request, and hold up the server's shutdown.
  response.writeHead(200, {
    "content-type": "application/json",
    "cache-control": "no-store",
    connection: "close",
  });
  let revision = "";
  const keepAlive = setInterval(() => {
    // A client that does not read needs no bookmark, and would only fill the buffer.
    if (revision !== "" && !response.writableNeedDrain) response.write(bookmark(kind, revision));
  }, bookmarkMs);
  try {
    for (let next = watch.first; !next.done && !signal.aborted; next = await watch.rest.next()) {
      const event = next.value;
      revision = event.resourceVersion;
      const { type } = event;
      const line =
        type === "BOOKMARK"
          ? bookmark(kind, revision)
          : `${JSON.stringify({ type, object: event.object })}\n`;
      keepAlive.refresh();
      if (!response.write(line)) await once(response, "drain", { signal });
    }
  } catch (thrown) {
    if (!signal.aborted) {
      response.write(`${JSON.stringify({ type: "ERROR", object: statusOf(asNattoError(thrown)) })}\n`);
    }
  } finally {
    clearInterval(keepAlive);
    response.end();
    await watch.rest.return?.();
  }
}

function bookmark(kind: Kind, resourceVersion: string): string {
  return `${JSON.stringify({ type: "BOOKMARK", object: { apiVersion: API_VERSION, kind, metadata: { resourceVersion } } })}\n`;
}
