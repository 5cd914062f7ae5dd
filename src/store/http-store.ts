/** The store behind a `natto server`, over HTTP. */
import { asNattoError, NattoError } from "../errors.ts";
import { type AnyObject, type Kind, kindInfo, type ObjectOf } from "../model/kinds.ts";
import { API_GROUP_PATH, DEFAULT_NAMESPACE } from "../model/meta.ts";
import { errorOfStatus } from "../model/status.ts";
import {
  BOOKMARK_MS,
  type Damage,
  type Fence,
  keyOf,
  type ListResult,
  type ObjectKey,
  type Selection,
  type Store,
  type WatchEvent,
} from "./store.ts";
import { FENCE_HEADER, fenceText, TRANSACTIONS, transactionBody } from "./wire.ts";

export interface HttpStoreOptions {
  /** After this time without an answer a call ends with `Unavailable`. */
  readonly timeoutMs?: number;
  /** After this time without a line (the server sends bookmarks) a watch ends with `Unavailable`. */
  readonly silenceMs?: number;
}

/** `url`: where the server is, such as `http://127.0.0.1:7474`. Nothing is sent before the first call. Throws `BadRequest`. */
export function openHttpStore(url: string, options: HttpStoreOptions = {}): Store {
  const { timeoutMs = 10_000, silenceMs = 3 * BOOKMARK_MS } = options;
  return storeAt({ base: baseOf(url), timeoutMs, silenceMs, fence: undefined });
}

interface Connection {
  readonly base: string;
  readonly timeoutMs: number;
  readonly silenceMs: number;
  /** Sent with every write. */
  readonly fence: Fence | undefined;
}

function storeAt(connection: Connection): Store {
  const { base, silenceMs } = connection;
  const get = (path: string): Promise<unknown> => exchange(connection, path, { method: "GET" });
  const write = (method: string, path: string, body?: object): Promise<unknown> =>
    exchange(connection, path, {
      method,
      headers: {
        ...(body && { "content-type": "application/json" }),
        ...(connection.fence && { [FENCE_HEADER]: fenceText(connection.fence) }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });

  return {
    description: base,
    get: async <K extends Kind>(key: ObjectKey<K>) => {
      try {
        return (await get(pathOf(key))) as ObjectOf<K>;
      } catch (thrown) {
        if (asNattoError(thrown).code === "NotFound") return undefined;
        throw thrown;
      }
    },
    list: async (selection) => listOf(await get(withQuery(selection, {}))),
    create: async (draft) =>
      (await write("POST", collectionPath(draft.kind, namespaceOf(draft)), draft)) as typeof draft,
    update: async (draft) => (await write("PUT", pathOf(keyOf(draft)), draft)) as typeof draft,
    updateStatus: async (draft) =>
      (await write("PUT", `${pathOf(keyOf(draft))}/status`, draft)) as typeof draft,
    delete: async <K extends Kind>(key: ObjectKey<K>, resourceVersion?: string) => {
      const precondition = resourceVersion ? `?resourceVersion=${encodeURIComponent(resourceVersion)}` : "";
      return (await write("DELETE", pathOf(key) + precondition)) as ObjectOf<K>;
    },
    commit: async (changes) => {
      const answer = await write("POST", `${API_GROUP_PATH}/${TRANSACTIONS}`, transactionBody(changes));
      return (answer as { readonly items: readonly AnyObject[] }).items;
    },
    fenced: (fence) => storeAt({ ...connection, fence }),
    watch: (selection, from, signal) => watch(base, selection, from, signal, silenceMs),
    close: async () => {},
  };
}

function baseOf(url: string): string {
  const parsed = URL.parse(url);
  if (
    parsed &&
    (parsed.protocol === "http:" || parsed.protocol === "https:") &&
    !parsed.search &&
    !parsed.hash
  ) {
    return parsed.href.replace(/\/+$/, "");
  }
  throw new NattoError(
    "BadRequest",
    `store "${url}": not an address of a server; write it like http://127.0.0.1:7474`,
  );
}

function namespaceOf(object: AnyObject): string | undefined {
  return kindInfo(object.kind).namespaced ? (object.metadata.namespace ?? DEFAULT_NAMESPACE) : undefined;
}

function collectionPath(kind: Kind, namespace: string | undefined): string {
  const { plural } = kindInfo(kind);
  return namespace === undefined
    ? `${API_GROUP_PATH}/${plural}`
    : `${API_GROUP_PATH}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
}

function pathOf({ kind, namespace, name }: ObjectKey): string {
  const owned = kindInfo(kind).namespaced ? (namespace ?? DEFAULT_NAMESPACE) : undefined;
  return `${collectionPath(kind, owned)}/${encodeURIComponent(name)}`;
}

function withQuery(
  { kind, namespace, name }: Selection,
  parameters: Readonly<Record<string, string>>,
): string {
  const query = new URLSearchParams(parameters);
  if (name !== undefined) query.set("fieldSelector", `metadata.name=${name}`);
  const path = collectionPath(kind, kindInfo(kind).namespaced ? namespace : undefined);
  return query.size > 0 ? `${path}?${query}` : path;
}

/** One request and its answer as JSON, within the deadline. */
async function exchange({ base, timeoutMs }: Connection, path: string, init: RequestInit): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  let text: string;
  let response: Response;
  try {
    response = await fetch(base + path, { ...init, signal });
    text = await response.text();
  } catch (thrown) {
    throw signal.aborted
      ? new NattoError(
          "Unavailable",
          `${base} did not answer within ${timeoutMs} ms; try again later`,
          [],
          thrown,
        )
      : unreachable(base, thrown);
  }
  const value = parsed(text);
  if (response.ok && value !== undefined) return value;
  throw answeredError(base, response, value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error that an answer tells of, or that it is no answer of a Natto server at all. */
function answeredError(base: string, response: Response, value: unknown): NattoError {
  const error = errorOfStatus(value);
  if (error) return error;
  const found = `${base} answered ${response.status} ${response.headers.get("content-type") ?? "without a content type"}`;
  return response.status >= 500
    ? new NattoError("Unavailable", `${found}; try again later`)
    : new NattoError("BadRequest", `${found}, which is not how a natto server answers; check the address`);
}

function unreachable(base: string, thrown: unknown): NattoError {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  const { message } = asNattoError(cause);
  return new NattoError(
    "Unavailable",
    `cannot reach ${base}: ${message}; check that natto server runs there`,
    [],
    thrown,
  );
}

function listOf<K extends Kind>(value: unknown): ListResult<K> {
  const list = value as {
    items?: readonly ObjectOf<K>[];
    metadata?: { resourceVersion?: string };
    damaged?: readonly Damage[];
  };
  const { items, metadata, damaged = [] } = list;
  if (!Array.isArray(items) || typeof metadata?.resourceVersion !== "string") {
    throw new NattoError(
      "BadRequest",
      "the answer is not a list of objects; check the address of the server",
    );
  }
  return { items, resourceVersion: metadata.resourceVersion, damaged };
}

async function* watch<K extends Kind>(
  base: string,
  selection: Selection<K>,
  from: string,
  signal: AbortSignal,
  silenceMs: number,
): AsyncGenerator<WatchEvent<K>> {
  if (signal.aborted) return;
  const ending = new AbortController();
  const path = withQuery(selection, { watch: "true", resourceVersion: from });
  const heard = makeSilenceTimer(silenceMs, () => ending.abort());
  try {
    const response = await heard(fetch(base + path, { signal: AbortSignal.any([signal, ending.signal]) }));
    if (!response.ok || response.body === null) {
      throw answeredError(base, response, parsed(await heard(response.text())));
    }
    for await (const line of linesOf(response.body, heard)) {
      const event = eventOf<K>(line);
      if (signal.aborted) return;
      yield event;
    }
    throw new NattoError("Unavailable", `${base} ended the watch; watch again from the last revision`);
  } catch (thrown) {
    if (signal.aborted) return;
    if (thrown instanceof NattoError) throw thrown;
    throw ending.signal.aborted
      ? new NattoError(
          "Unavailable",
          `${base} has been silent for ${silenceMs} ms; watch again from the last revision`,
        )
      : unreachable(base, thrown);
  } finally {
    ending.abort();
  }
}

type Heard = <T>(promise: Promise<T>) => Promise<T>;

/** Gives up when a promise takes longer than `silenceMs`. What the caller does between promises is not the server's silence. */
function makeSilenceTimer(silenceMs: number, giveUp: () => void): Heard {
  return async (promise) => {
    const timer = setTimeout(giveUp, silenceMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  };
}

async function* linesOf(body: ReadableStream<Uint8Array>, heard: Heard): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await heard(reader.read());
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** The event of a line. Throws the error that an `ERROR` line tells of. */
function eventOf<K extends Kind>(line: string): WatchEvent<K> {
  const event = parsed(line) as { type?: string; object?: ObjectOf<K> } | undefined;
  if (event?.type === "ERROR") {
    throw errorOfStatus(event.object) ?? new NattoError("Unavailable", "the watch failed; watch again");
  }
  const resourceVersion = event?.object?.metadata?.resourceVersion;
  if (event?.object === undefined || typeof resourceVersion !== "string") {
    throw new NattoError("Unavailable", "the watch sent a line that is not an event; watch again");
  }
  switch (event.type) {
    case "BOOKMARK":
      return { type: "BOOKMARK", resourceVersion };
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type: event.type, object: event.object, resourceVersion };
    default:
      throw new NattoError(
        "Unavailable",
        `the watch sent an event of unknown type ${event.type}; watch again`,
      );
  }
}
