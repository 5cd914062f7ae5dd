/** Which sessions are asked for: as options of the CLI, as a query of a URL, and as a test of a session. Pure. */
import { NattoError } from "../errors.ts";
import { address, type Cidr, cidrContains, parseAddress, parseCidr } from "../model/ipv4.ts";
import type { ReportedSession } from "./session-report.ts";

export const FILTER_FIELDS = ["gateway", "protocol", "endpoint", "public", "remote"] as const;
export const DEFAULT_LIMIT = 1000;
export const MAX_LIMIT = 100_000;

/** As it was written; all fields must match. */
export type SessionQuery = { readonly [field in (typeof FILTER_FIELDS)[number]]?: string | undefined };

export type SessionFilter = (session: ReportedSession) => boolean;

const PROTOCOLS = ["tcp", "udp", "icmp"];

/** One side of a session: an address or block, with or without a port. */
interface EndFilter {
  readonly block: Cidr;
  readonly port: number | undefined;
}

/** Reads a query. Throws `BadRequest` that names the field. */
export function sessionFilter(query: SessionQuery): SessionFilter {
  const { gateway, protocol } = query;
  if (protocol !== undefined && !PROTOCOLS.includes(protocol)) {
    throw refusal("protocol", protocol, `use one of ${PROTOCOLS.join(", ")}`);
  }
  if (gateway !== undefined && !/^[^/]+\/[^/]+$/.test(gateway)) {
    throw refusal("gateway", gateway, "write NAMESPACE/NAME");
  }
  const ends = [
    ["inside", parseEnd("endpoint", query.endpoint)],
    ["public", parseEnd("public", query.public)],
    ["remote", parseEnd("remote", query.remote)],
  ] as const;
  return (session) =>
    (gateway === undefined || session.gateway === gateway) &&
    (protocol === undefined || session.protocol === protocol) &&
    ends.every(([side, end]) => !end || isAt(end, session[side]));
}

function isAt({ block, port }: EndFilter, end: ReportedSession["inside"]): boolean {
  return cidrContains(block, address(end.address)) && (port === undefined || port === end.port);
}

function parseEnd(field: string, text: string | undefined): EndFilter | undefined {
  if (text === undefined) return undefined;
  const [where = "", portText, ...rest] = text.split(":");
  const port = portText === undefined ? undefined : Number(portText);
  const single = parseAddress(where);
  const parsed = parseCidr(where);
  const block = single === undefined ? (parsed.ok ? parsed.cidr : undefined) : { first: single, bits: 32 };
  const portFits = port === undefined || (/^\d{1,5}$/.test(portText ?? "") && port <= 65535);
  if (block && portFits && rest.length === 0) return { block, port };
  throw refusal(field, text, "write ADDRESS, ADDRESS:PORT or a CIDR block");
}

/** Reads how many sessions are wanted at most. Throws `BadRequest`. */
export function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT;
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw refusal("limit", text, `give a whole number from 1 to ${MAX_LIMIT}`);
}

function refusal(field: string, found: string, remedy: string): NattoError {
  return new NattoError("BadRequest", `${field}: found "${found}"; ${remedy}`, [
    { field, message: `found "${found}"`, remedy },
  ]);
}
