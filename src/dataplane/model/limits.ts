/** What one endpoint may have of what all share (RFC 6888 REQ-4 and REQ-5): step 14 of docs/dataplane.md. Endpoints without limits are not counted. */
import type { NatBehaviour } from "../../model/nat-behaviour.ts";
import type { DropCounter, EndpointUse, FlowRecord, State } from "./state.ts";

const NOTHING_USED: EndpointUse = { sessions: 0, ports: 0, records: 0, paidUntil: 0 };

export function hasLimits({ limits }: NatBehaviour): boolean {
  return limits.sessionsPerEndpoint > 0 || limits.portsPerEndpoint > 0 || limits.newSessionsPerSecond > 0;
}

interface Endpoint {
  readonly network: number;
  readonly inside: { readonly address: number };
}

const keyOf = ({ network, inside }: Endpoint): string => `${network}/${inside.address}`;

function useOf(state: State, endpoint: Endpoint): EndpointUse {
  return state.endpoints.get(keyOf(endpoint)) ?? NOTHING_USED;
}

function withUse(state: State, endpoint: Endpoint, use: EndpointUse): State {
  const endpoints = new Map(state.endpoints);
  if (use.records === 0) endpoints.delete(keyOf(endpoint));
  else endpoints.set(keyOf(endpoint), use);
  return { ...state, endpoints };
}

/** The limit that one more session would break at `now` (ms). The rate is a bucket of tokens: each session moves `paidUntil` on by 1/rate. */
export function sessionLimit(
  state: State,
  endpoint: Endpoint,
  { limits }: NatBehaviour,
  now: number,
): DropCounter | undefined {
  const { sessions, paidUntil } = useOf(state, endpoint);
  const { newSessionsPerSecond: rate, newSessionsBurst: burst, sessionsPerEndpoint } = limits;
  const ahead = Math.max(paidUntil - now, 0);
  if (rate > 0 && ahead + 1000 / rate > (burst * 1000) / rate) return "drop_limit_rate";
  return sessionsPerEndpoint > 0 && sessions >= sessionsPerEndpoint ? "drop_limit_sessions" : undefined;
}

/** Whether one more port would be too many. */
export function isPortLimited(state: State, endpoint: Endpoint, { limits }: NatBehaviour): boolean {
  return limits.portsPerEndpoint > 0 && useOf(state, endpoint).ports >= limits.portsPerEndpoint;
}

/** A session that was made uses up its share of the rate. */
export function paySession(state: State, endpoint: Endpoint, { limits }: NatBehaviour, now: number): State {
  const use = useOf(state, endpoint);
  const rate = limits.newSessionsPerSecond;
  if (rate === 0) return state;
  return withUse(state, endpoint, { ...use, paidUntil: Math.max(use.paidUntil, now) + 1000 / rate });
}

/** Counts a record that is there now (`by` = 1), or no more (−1). */
export function countRecord(state: State, record: FlowRecord, by: 1 | -1): State {
  if (record.kind === "permission" || !record.counted) return state;
  const use = useOf(state, record);
  const holdsPort = record.kind === "mapping" || record.parent === undefined;
  return withUse(state, record, {
    ...use,
    records: use.records + by,
    sessions: use.sessions + (record.kind === "session" ? by : 0),
    ports: use.ports + (holdsPort ? by : 0),
  });
}
