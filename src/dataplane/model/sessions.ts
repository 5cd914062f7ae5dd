/** Sessions: finding, opening, noting, ending (steps 10, 14 and 17 of docs/dataplane.md). */
import type { NatBehaviour } from "../../model/nat-behaviour.ts";
import { TCP_FLAG } from "../packet.ts";
import { hasLimits, paySession, sessionLimit } from "./limits.ts";
import { mapFlow, release } from "./mappings.ts";
import { addRecord, changeRecord, type Indexed, recordAt, removeRecord } from "./records.ts";
import {
  type Direction,
  type DropCounter,
  flowKey,
  flowKeysOf,
  holdsSlot,
  type ModelConfig,
  NOTHING_SEEN,
  type Session,
  type SlotName,
  type State,
  type Tuple,
} from "./state.ts";

/** Step 10: the session whose packets of this direction have this tuple, if its slot is this node's. */
export function findSession(
  config: ModelConfig,
  state: State,
  tuple: Tuple,
  direction: Direction,
): Indexed<Session> | undefined {
  const flow = state.flows.get(flowKey(tuple));
  const record = flow && state.records.get(flow.record);
  if (flow?.direction !== direction || record?.kind !== "session") return undefined;
  return holdsSlot(config, record.slot) ? { index: flow.record, record } : undefined;
}

/** What TCP flags ask for where no connection is known (step 14). */
export type Opening = "open" | "accept" | "refuse" | "none";

export function openingOf(flags: number): Opening {
  const { syn, ack, fin, rst } = TCP_FLAG;
  if (flags & rst) return "refuse";
  switch (flags & (syn | ack | fin)) {
    case syn:
      return "open";
    case syn | ack:
      return "accept";
    default:
      return "none";
  }
}

export type Opened =
  | {
      readonly ok: true;
      readonly state: State;
      readonly session: Indexed<Session>;
      /** A session that was left from before its slot moved away has made room. */
      readonly endedStale: boolean;
    }
  | { readonly ok: false; readonly drop: DropCounter };

/**
 * Step 14: a new flow of an endpoint, with a port of a slot that this node holds (undefined = it has none to give), at `now` (ms).
 * `accepting` the SYN that the remote has sent.
 */
export function openSession(
  config: ModelConfig,
  state: State,
  behaviour: NatBehaviour,
  slot: SlotName | undefined,
  tuple: Tuple,
  accepting: boolean,
  now: number,
): Opened {
  if (state.records.size + 1 > config.maxRecords) return { ok: false, drop: "drop_table_full" };
  const endpoint = { network: tuple.network, inside: tuple.source };
  const counted = hasLimits(behaviour);
  const limit = counted ? sessionLimit(state, endpoint, behaviour, now) : undefined;
  if (limit) return { ok: false, drop: limit };
  const mapped = mapFlow(config, state, behaviour, slot, tuple);
  if (!mapped.ok) return mapped;
  const session = { ...newSession(tuple, mapped, accepting), counted };
  const opened = add(config, mapped.state, session, now);
  if (!opened.ok || !counted) return opened;
  return { ...opened, state: paySession(opened.state, endpoint, behaviour, now) };
}

/**
 * Adds a session. What has its outbound tuple is left from before its slot moved away, and ends now rather than with the next
 * sweep. Anything else in the way stays.
 */
function add(config: ModelConfig, state: State, session: Session, now: number): Opened {
  const keys = new Map(flowKeysOf(session));
  if (state.flows.has(keys.get("inbound")!)) return { ok: false, drop: "drop_table_full" };
  const outbound = keys.get("outbound")!;
  const stale = staleSession(config, state, outbound);
  const cleared = stale ? endSession(config, state, stale, now) : state;
  if (cleared.flows.has(outbound)) return { ok: false, drop: "drop_table_full" };
  return {
    ok: true,
    state: addRecord(cleared, session),
    session: { index: cleared.nextRecord, record: session },
    endedStale: stale !== undefined,
  };
}

function staleSession(config: ModelConfig, state: State, key: string): Indexed<Session> | undefined {
  const found = recordAt(state, key);
  if (found?.record.kind !== "session" || holdsSlot(config, found.record.slot)) return undefined;
  return { index: found.index, record: found.record };
}

function newSession(
  tuple: Tuple,
  mapped: Pick<Session, "public" | "slot" | "parent">,
  accepting: boolean,
): Omit<Session, "counted"> {
  return {
    kind: "session",
    network: tuple.network,
    protocol: tuple.protocol,
    inside: tuple.source,
    public: mapped.public,
    remote: tuple.destination,
    slot: mapped.slot,
    parent: mapped.parent,
    outbound: NOTHING_SEEN,
    inbound: { ...NOTHING_SEEN, syn: accepting },
  };
}

/** Step 17: notes that a packet of a session was seen at `now` (ms). */
export function notePacket(
  state: State,
  { index, record }: Indexed<Session>,
  direction: Direction,
  tcpFlags: number,
  now: number,
): State {
  const session = revived(record, tcpFlags);
  const before = session[direction];
  const notes = {
    at: now,
    syn: before.syn || (tcpFlags & TCP_FLAG.syn) !== 0,
    fin: before.fin || (tcpFlags & TCP_FLAG.fin) !== 0,
    rst: before.rst || (tcpFlags & TCP_FLAG.rst) !== 0,
  };
  return changeRecord(state, index, { ...session, [direction]: notes });
}

/**
 * Step 17: what a packet makes of a connection that seems to be over. A SYN begins it anew. Anything else but a reset, after a reset, says that this
 * one was not believed by the other side (RFC 7857, section 2.2): the connection goes on.
 */
function revived(session: Session, tcpFlags: number): Session {
  const { outbound, inbound } = session;
  const reset = outbound.rst || inbound.rst;
  if ((tcpFlags & TCP_FLAG.rst) !== 0 || !(reset || (outbound.fin && inbound.fin))) return session;
  if (tcpFlags & TCP_FLAG.syn) {
    return {
      ...session,
      outbound: { ...NOTHING_SEEN, at: outbound.at },
      inbound: { ...NOTHING_SEEN, at: inbound.at },
    };
  }
  return { ...session, outbound: { ...outbound, rst: false }, inbound: { ...inbound, rst: false } };
}

/** Ends a session at `now` (ms), and what nobody needs without it. */
export function endSession(
  config: ModelConfig,
  state: State,
  { index, record }: Indexed<Session>,
  now: number,
): State {
  return release(config, removeRecord(state, index), record.parent, now);
}
