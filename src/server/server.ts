/** The API server: HTTP over a store. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from "fastify";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { asNattoError, ERRORS, NattoError } from "../errors.ts";
import type { Kind } from "../model/kinds.ts";
import { API_VERSION } from "../model/meta.ts";
import { statusOf } from "../model/status.ts";
import type { Store } from "../store/store.ts";
import { BOOKMARK_MS } from "../store/store.ts";
import { NATTO_VERSION } from "../version.ts";
import { makeAdmittedStore } from "./admitted-store.ts";
import { makeRegistry, makeServerMetrics, type ServerMetrics } from "./metrics.ts";
import { requestError, wrongPath } from "./request-errors.ts";
import { addKindRoutes, MERGE_PATCH } from "./routes.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The kind that a route serves. */
    readonly kind?: Kind;
  }
}

export interface ServerOptions {
  /** Stays the caller's: `close` does not close it. */
  readonly store: Store;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly logger: Logger;
  /** What `/metrics` shows, to which the server's own metrics are added; default: a new one. */
  readonly registry?: Registry;
  /** How often a quiet watch sends a bookmark. */
  readonly bookmarkMs?: number;
}

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:7474`. */
  readonly url: string;
  /** Ends all watches, lets other requests finish, and stops listening. */
  close(): Promise<void>;
}

/** How long `/readyz` waits for the store. */
const READY_DEADLINE_MS = 2_000;

/** How long `close` waits for requests that are being answered. */
const CLOSE_DEADLINE_MS = 5_000;

/** Starts the server. Throws `Environment` when it cannot listen. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { store, host, port, logger, registry = makeRegistry() } = options;
  const closing = new AbortController();
  const metrics = makeServerMetrics(registry);
  const app = makeApp(logger);
  const answering = addObservation(app, metrics);
  addOwnRoutes(app, store, registry);
  addKindRoutes(app, {
    store: makeAdmittedStore(store),
    metrics,
    bookmarkMs: options.bookmarkMs ?? BOOKMARK_MS,
    closing: closing.signal,
  });
  const url = await listenOn(app, host, port);
  logger.info({ url, store: store.description }, "serving");
  return {
    url,
    close: async () => {
      closing.abort();
      await allEnded(answering, CLOSE_DEADLINE_MS);
      await app.close();
      logger.info({ url }, "closed");
    },
  };
}

/** Returns the address. Throws `Environment`. */
async function listenOn(app: FastifyInstance, host: string, port: number): Promise<string> {
  try {
    await app.listen({ host, port });
    return urlOf(app.server.address());
  } catch (thrown) {
    const { message } = asNattoError(thrown);
    throw new NattoError(
      "Environment",
      `cannot listen on ${host}:${port}: ${message}; choose another address or port`,
      [],
      thrown,
    );
  }
}

export interface MetricsServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves `/metrics` and `/healthz` of a process that serves nothing else. Throws `Environment` when it cannot listen. */
export async function startMetricsServer(
  options: Pick<ServerOptions, "host" | "port" | "logger"> & { readonly registry: Registry },
): Promise<MetricsServer> {
  const { host, port, logger, registry } = options;
  const app = makeApp(logger);
  app.get("/healthz", async () => ({ status: "ok" }));
  app.get("/metrics", (_request, reply) => sendMetrics(registry, reply));
  return { url: await listenOn(app, host, port), close: () => app.close() };
}

async function sendMetrics(registry: Registry, reply: FastifyReply): Promise<string> {
  reply.type(registry.contentType);
  return registry.metrics();
}

function makeApp(logger: FastifyBaseLogger): FastifyInstance {
  const app = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    // `close` waits for requests before; what is left are connections kept for requests that may never come.
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
    frameworkErrors: (error, request, reply) => sendError(requestError(error, request), request, reply),
  });
  const parseJson = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(["application/json", MERGE_PATCH], { parseAs: "string" }, parseJson);
  app.setErrorHandler((error, request, reply) => sendError(requestError(error, request), request, reply));
  app.setNotFoundHandler((request, reply) =>
    sendError(wrongPath(request.method, request.url), request, reply),
  );
  return app;
}

function sendError(error: NattoError, request: FastifyRequest, reply: FastifyReply): void {
  if (error.code === "Internal") request.log.error({ err: error, url: request.url }, "request failed");
  reply.code(ERRORS[error.code].http).type("application/json").send(statusOf(error));
}

/** Counts and logs every request; a watch when it ends. Returns the responses that are under way. */
function addObservation(app: FastifyInstance, metrics: ServerMetrics): ReadonlySet<ServerResponse> {
  const answering = new Set<ServerResponse>();
  app.addHook("onRequest", async (request, reply) => {
    answering.add(reply.raw);
    const start = performance.now();
    reply.raw.once("close", () => {
      answering.delete(reply.raw);
      const { method, url } = request;
      const code = reply.raw.statusCode;
      const ms = performance.now() - start;
      const label = /[?&]watch=(true|1)(&|$)/.test(url) ? "WATCH" : method;
      metrics.request({ method: label, kind: request.routeOptions.config?.kind ?? "", code }, ms / 1000);
      const level = method === "GET" || code === 409 ? "debug" : "info";
      request.log[level]({ method, url, code, ms: Math.round(ms) }, "answered");
    });
  });
  return answering;
}

async function allEnded(responses: ReadonlySet<ServerResponse>, deadlineMs: number): Promise<void> {
  const signal = AbortSignal.timeout(deadlineMs);
  const closed = [...responses].map((response) => once(response, "close", { signal }));
  await Promise.allSettled(closed);
}

function addOwnRoutes(app: FastifyInstance, store: Store, registry: Registry): void {
  const version = {
    version: NATTO_VERSION,
    apiVersion: API_VERSION,
    node: process.version,
  };
  app.get("/healthz", async () => ({ status: "ok" }));
  app.get("/readyz", async () => {
    await answersInTime(store);
    return { status: "ok", store: store.description };
  });
  app.get("/version", async () => version);
  app.get("/metrics", (_request, reply) => sendMetrics(registry, reply));
}

async function answersInTime(store: Store): Promise<void> {
  const deadline = AbortSignal.timeout(READY_DEADLINE_MS);
  const late = new Promise<never>((_, reject) => {
    deadline.addEventListener("abort", () =>
      reject(
        new NattoError(
          "Unavailable",
          `${store.description} did not answer within ${READY_DEADLINE_MS} ms; check it`,
        ),
      ),
    );
  });
  await Promise.race([store.get({ kind: "Cell", name: "readyz" }), late]);
}

function urlOf(address: AddressInfo | string | null): string {
  if (typeof address !== "object" || address === null) return String(address);
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}`;
}
