/** The routes of the API: for each kind list, watch, get, create, replace, patch and delete, and the same of its status. */
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import { NattoError } from "../errors.ts";
import { type AnyObject, KINDS, type Kind, type KindInfo, kindInfo } from "../model/kinds.ts";
import { API_GROUP_PATH, API_VERSION } from "../model/meta.ts";
import { MAX_SYSTEM_OBJECT_BYTES, validateObject } from "../model/validate.ts";
import { notFound } from "../store/object-commit.ts";
import type { ObjectKey, Selection } from "../store/store.ts";
import { changesFrom, FENCE_HEADER, fenceFrom, TRANSACTIONS } from "../store/wire.ts";
import type { AdmittedStore, Write } from "./admitted-store.ts";
import { bodyLimit, isDryRun, isWatch, objectAt, queryOf, selectedName } from "./body.ts";
import { mergePatch } from "./merge-patch.ts";
import type { ServerMetrics } from "./metrics.ts";
import { openWatch, streamWatch } from "./watch-stream.ts";

export const MERGE_PATCH = "application/merge-patch+json";

/** A patch is made again when somebody else was faster, at most so often. */
const MAX_PATCH_ATTEMPTS = 20;

export interface RouteContext {
  readonly store: AdmittedStore;
  readonly metrics: ServerMetrics;
  readonly bookmarkMs: number;
  /** Aborts when the server shuts down. */
  readonly closing: AbortSignal;
}

interface Params {
  readonly namespace?: string;
  readonly name?: string;
}

type Request = FastifyRequest<{ Params: Params }>;

export function addKindRoutes(app: FastifyInstance, context: RouteContext): void {
  app.route<{ Params: Params }>({
    method: "POST",
    url: `${API_GROUP_PATH}/${TRANSACTIONS}`,
    handler: commit(context),
    bodyLimit: 2 * MAX_SYSTEM_OBJECT_BYTES,
  });
  for (const kind of KINDS) {
    const info = kindInfo(kind);
    const collection = info.namespaced
      ? `${API_GROUP_PATH}/namespaces/:namespace/${info.plural}`
      : `${API_GROUP_PATH}/${info.plural}`;
    if (info.namespaced)
      route(app, info, "GET", `${API_GROUP_PATH}/${info.plural}`, listOrWatch(context, kind));
    route(app, info, "GET", collection, listOrWatch(context, kind));
    route(app, info, "POST", collection, create(context, kind));
    const item = `${collection}/:name`;
    route(app, info, "GET", item, getOne(context, kind));
    route(app, info, "DELETE", item, remove(context, kind));
    route(app, info, "PUT", item, replace(context, kind, "update"));
    route(app, info, "PATCH", item, patch(context, kind, "update"));
    route(app, info, "GET", `${item}/status`, getOne(context, kind));
    route(app, info, "PUT", `${item}/status`, replace(context, kind, "updateStatus"));
    route(app, info, "PATCH", `${item}/status`, patch(context, kind, "updateStatus"));
  }
}

type Handler = (request: Request, reply: FastifyReply) => Promise<unknown>;

function route(app: FastifyInstance, info: KindInfo, method: string, url: string, handler: Handler): void {
  app.route<{ Params: Params }>({
    method: method as RouteOptions["method"],
    url,
    handler,
    bodyLimit: bodyLimit(info),
    config: { kind: info.kind },
  });
}

function keyIn<K extends Kind>(kind: K, { namespace, name = "" }: Params): ObjectKey<K> {
  return { kind, namespace, name };
}

function listOrWatch(context: RouteContext, kind: Kind): Handler {
  return async (request, reply) => {
    const query = queryOf(request.query, ["watch", "resourceVersion", "fieldSelector"]);
    const selection = { kind, namespace: request.params.namespace, name: selectedName(query.fieldSelector) };
    if (isWatch(query.watch)) return watch(context, selection, query.resourceVersion, request, reply);
    if (query.resourceVersion !== undefined) {
      throw new NattoError(
        "BadRequest",
        "?resourceVersion: lists always show the present; give it with watch=true only",
      );
    }
    const { items, resourceVersion, damaged } = await context.store.list(selection);
    const list = { apiVersion: API_VERSION, kind: `${kind}List`, metadata: { resourceVersion }, items };
    return damaged.length === 0 ? list : { ...list, damaged };
  };
}

async function watch(
  { store, metrics, bookmarkMs, closing }: RouteContext,
  selection: Selection,
  from: string | undefined,
  request: Request,
  reply: FastifyReply,
): Promise<void> {
  if (from === undefined) {
    throw new NattoError(
      "BadRequest",
      "?watch needs a resourceVersion to begin after; list first and use the list's",
    );
  }
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  const signal = AbortSignal.any([gone.signal, closing]);
  const opened = await openWatch(store, selection, from, signal);
  reply.hijack();
  metrics.watchOpened(selection.kind);
  try {
    await streamWatch(opened, reply.raw, { bookmarkMs, signal });
  } finally {
    metrics.watchClosed(selection.kind);
    request.log.debug({ kind: selection.kind, namespace: selection.namespace }, "watch ended");
  }
}

function getOne({ store }: RouteContext, kind: Kind): Handler {
  return async (request) => {
    queryOf(request.query, []);
    const key = keyIn(kind, request.params);
    const object = await store.get(key);
    if (object === undefined) throw notFound(key);
    return object;
  };
}

/** The store as the request may write to it: under its fence, if it carries one. */
function writable({ store }: RouteContext, { headers }: Request): AdmittedStore {
  const fence = headers[FENCE_HEADER];
  return typeof fence === "string" ? store.fenced(fenceFrom(fence)) : store;
}

function commit(context: RouteContext): Handler {
  return async (request) => {
    queryOf(request.query, []);
    checkContentType(request, "application/json");
    const items = await writable(context, request).commit(changesFrom(request.body));
    return { apiVersion: API_VERSION, kind: "List", items };
  };
}

function create(context: RouteContext, kind: Kind): Handler {
  return async (request, reply) => {
    const store = writable(context, request);
    const { dryRun } = queryOf(request.query, ["dryRun"]);
    checkContentType(request, "application/json");
    const draft = validateObject(objectAt(request.body, { kind, namespace: request.params.namespace }));
    const created = isDryRun(dryRun) ? await store.preview("create", draft) : await store.create(draft);
    reply.code(201);
    return created;
  };
}

function replace(context: RouteContext, kind: Kind, write: Write & keyof AdmittedStore): Handler {
  return async (request) => {
    const store = writable(context, request);
    const { dryRun } = queryOf(request.query, ["dryRun"]);
    checkContentType(request, "application/json");
    const draft = validateObject(objectAt(request.body, keyIn(kind, request.params)));
    return isDryRun(dryRun) ? store.preview(write, draft) : store[write](draft);
  };
}

function patch(context: RouteContext, kind: Kind, write: Write & keyof AdmittedStore): Handler {
  return async (request) => {
    const store = writable(context, request);
    const { dryRun } = queryOf(request.query, ["dryRun"]);
    checkContentType(request, MERGE_PATCH);
    const preview = isDryRun(dryRun);
    const key = keyIn(kind, request.params);
    for (let attempt = 1; ; attempt++) {
      const stored = await store.get<Kind>(key);
      if (stored === undefined) throw notFound(key);
      const draft = patched(stored, request.body, key);
      try {
        return await (preview ? store.preview(write, draft) : store[write](draft));
      } catch (error) {
        const raced =
          error instanceof NattoError && error.code === "Conflict" && isUnconditional(draft, stored);
        if (!raced || attempt >= MAX_PATCH_ATTEMPTS) throw error;
      }
    }
  };
}

/** The object that the patch makes of the stored one; a precondition in the patch takes the place of the stored version. */
function patched(stored: AnyObject, body: unknown, key: ObjectKey): AnyObject {
  return validateObject(objectAt(mergePatch(stored, objectAt(body, key)), key));
}

function isUnconditional(draft: AnyObject, stored: AnyObject): boolean {
  return draft.metadata.resourceVersion === stored.metadata.resourceVersion;
}

function remove(context: RouteContext, kind: Kind): Handler {
  return async (request) => {
    const store = writable(context, request);
    const { resourceVersion } = queryOf(request.query, ["resourceVersion"]);
    if (request.body !== undefined) {
      throw new NattoError("BadRequest", "DELETE takes no body; give a precondition as ?resourceVersion=");
    }
    return store.delete(keyIn(kind, request.params), resourceVersion);
  };
}

function checkContentType(request: Request, expected: string): void {
  const found = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (found === expected) return;
  throw new NattoError(
    "BadRequest",
    `content-type: found ${found ?? "none"}; ${request.method} takes ${expected}`,
  );
}
