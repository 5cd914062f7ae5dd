/** Gathers the sessions of many nodes: what each says, and what went wrong with those that say nothing. */
import { asNattoError, NattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { errorOfStatus } from "../model/status.ts";
import { checkSchema } from "../model/validate.ts";
import { FILTER_FIELDS, type SessionQuery } from "./session-filter.ts";
import { type SessionReport, sessionReportSchema } from "./session-report.ts";

/** A node with a million sessions takes a while to look through them. */
const DEADLINE_MS = 10_000;

export interface Gathered {
  readonly reports: readonly SessionReport[];
  /** Of the nodes that did not answer; empty when the reports are all there is. */
  readonly failures: readonly { readonly node: string; readonly error: NattoError }[];
}

export interface GatherOptions {
  /** At most so many sessions of each node. */
  readonly limit: number;
  readonly token: string | undefined;
}

/** Asks all nodes at once. */
export async function gatherSessions(
  nodes: readonly GatewayNode[],
  query: SessionQuery,
  options: GatherOptions,
): Promise<Gathered> {
  const answers = await Promise.all(
    nodes.map(async (node) => {
      try {
        return { ok: true, report: await askNode(node, query, options) } as const;
      } catch (thrown) {
        return { ok: false, node: node.metadata.name, error: asNattoError(thrown) } as const;
      }
    }),
  );
  return {
    reports: answers.flatMap((answer) => (answer.ok ? [answer.report] : [])),
    failures: answers.flatMap((answer) => (answer.ok ? [] : [answer])),
  };
}

async function askNode(
  { status }: GatewayNode,
  query: SessionQuery,
  { limit, token }: GatherOptions,
): Promise<SessionReport> {
  if (!status?.observer) {
    throw new NattoError(
      "Unavailable",
      "lets nobody read its sessions; start its agent with --observe-listen",
    );
  }
  const url = new URL("/sessions", status.observer.url);
  url.searchParams.set("limit", String(limit));
  for (const field of FILTER_FIELDS) {
    const value = query[field];
    if (value !== undefined) url.searchParams.set(field, value);
  }
  const answer = await fetchJson(url, token);
  return checkSchema(sessionReportSchema, answer);
}

async function fetchJson(url: URL, token: string | undefined): Promise<unknown> {
  let body: unknown;
  try {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(DEADLINE_MS) });
    body = await response.json();
    if (response.ok) return body;
  } catch (thrown) {
    const { message } = asNattoError(thrown);
    throw new NattoError("Unavailable", `does not answer at ${url.origin}: ${message}`, [], thrown);
  }
  throw (
    errorOfStatus(body) ?? new NattoError("Unavailable", `answers at ${url.origin}, but is no natto agent`)
  );
}
