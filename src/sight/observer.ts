/**
 * What a node lets be read over HTTP: its live sessions and its metrics. Reading only: nothing that is asked here changes the node. See
 * docs/observability.md for who may ask.
 */
import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setImmediate as letOthersRun } from "node:timers/promises";
import type { Session } from "../dataplane/dataplane.ts";
import { asNattoError, ERRORS, NattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { statusOf } from "../model/status.ts";
import { FILTER_FIELDS, parseLimit, sessionFilter } from "./session-filter.ts";
import { type ReportedSession, type SessionReport, sessionReporter } from "./session-report.ts";

export interface ObserverOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Who asks must show it, if there is one. */
  readonly token: string | undefined;
  readonly node: string;
  /** What the node runs now. */
  readonly config: () => NodeConfig["spec"] | undefined;
  readonly sessions: () => Iterable<readonly Session[]>;
  /** In the text format of Prometheus. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface Observer {
  readonly port: number;
  close(): Promise<void>;
}

/** Starts to listen. Throws `Environment` when it cannot. */
export async function startObserver(options: ObserverOptions): Promise<Observer> {
  const server = createServer((request, response) => {
    answer(options, request, response).catch((thrown) => sendError(response, asNattoError(thrown)));
  });
  const { host, port } = options;
  server.listen({ host, port });
  try {
    await once(server, "listening");
  } catch (thrown) {
    const { message } = asNattoError(thrown);
    const text = `cannot listen on ${host}:${port}: ${message}; choose another address or port`;
    throw new NattoError("Environment", text, [], thrown);
  }
  const bound = server.address();
  return {
    port: typeof bound === "object" && bound ? bound.port : port,
    async close() {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, "close");
    },
  };
}

async function answer(
  options: ObserverOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://node");
  if (request.method !== "GET") throw new NattoError("BadRequest", "a node is only read: use GET");
  if (!isAllowed(options.token, request.headers.authorization)) {
    throw new NattoError("Forbidden", "this node answers only who shows its token; give --token-file");
  }
  switch (url.pathname) {
    case "/sessions": {
      const report = await reportSessions(options, url.searchParams);
      response.setHeader("content-type", "application/json").end(JSON.stringify(report));
      return;
    }
    case "/metrics": {
      const { contentType, text } = await options.metrics();
      response.setHeader("content-type", contentType).end(text);
      return;
    }
    default:
      throw new NattoError("NotFound", `there is no ${url.pathname}; there are /sessions and /metrics`);
  }
}

async function reportSessions(
  { node, config, sessions }: ObserverOptions,
  parameters: URLSearchParams,
): Promise<SessionReport> {
  const matches = sessionFilter(
    Object.fromEntries(FILTER_FIELDS.map((field) => [field, parameters.get(field) ?? undefined])),
  );
  const limit = parseLimit(parameters.get("limit") ?? undefined);
  const report = sessionReporter(config());
  const found: ReportedSession[] = [];
  let matching = 0;
  for (const part of sessions()) {
    const fitting = part.map(report).filter(matches);
    matching += fitting.length;
    found.push(...fitting.slice(0, limit - found.length));
    await letOthersRun();
  }
  return { node, sessions: found, matching };
}

function isAllowed(token: string | undefined, header: string | undefined): boolean {
  if (token === undefined) return true;
  const [shown, wanted] = [Buffer.from(header ?? ""), Buffer.from(`Bearer ${token}`)];
  return shown.length === wanted.length && timingSafeEqual(shown, wanted);
}

function sendError(response: ServerResponse, error: NattoError): void {
  if (response.headersSent) return void response.destroy();
  response.statusCode = ERRORS[error.code].http;
  response.setHeader("content-type", "application/json").end(JSON.stringify(statusOf(error)));
}
