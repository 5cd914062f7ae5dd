/** Sessions and mappings: finding, opening, noting, ending (steps 10, 14 and 17 of docs/dataplane.md). */
import { TCP_FLAG } from "../packet.ts";
import {
  type AddressPort,
  ANY_REMOTE,
  type Direction,
  type DropCounter,
  type FlowRecord,
  flowKey,
  flowKeysOf,
  type Mapping,
  type ModelConfig,
  NOTHING_SEEN,
  ownerOfSlot,
  portsToTry,
  type Session,
  type SlotName,
  type State,
  type Tuple,
} from "./state.ts";

export interface Indexed<R extends FlowRecord> {
  readonly index: number;
  readonly record: R;
}

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
  return ownerOfSlot(config, record.slot).kind === "self" ? { index: flow.record, record } : undefined;
}

/** Whether TCP flags are those of the first packet of a connection. */
export function opensConnection(flags: number): boolean {
  const { syn, ack, fin, rst } = TCP_FLAG;
  return (flags & (syn | ack | fin | rst)) === syn;
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

/** Step 14: a new flow of an endpoint, in a slot of this node. */
export function openSession(
  config: ModelConfig,
  state: State,
  slot: SlotName,
  tuple: Tuple,
  tcpFlags: number,
): Opened {
  if (tuple.protocol === "tcp" && !opensConnection(tcpFlags)) return { ok: false, drop: "drop_not_syn" };
  const mapping = tuple.protocol === "udp" ? findMapping(state, tuple) : undefined;
  const newRecords = tuple.protocol === "udp" && !mapping ? 2 : 1;
  if (state.records.size + newRecords > config.maxRecords) return { ok: false, drop: "drop_table_full" };
  if (mapping) return openMapped(config, state, mapping, tuple);

  const port = portsToTry(slot, tuple.source).find((candidate) => isFree(state, slot, candidate, tuple));
  if (port === undefined) return { ok: false, drop: "drop_no_port" };
  const mapped = { address: slot.address, port };
  if (tuple.protocol !== "udp") return add(config, state, newSession(tuple, mapped, slot, undefined));
  const made = newMapping(tuple, mapped, slot);
  const next = withRecord(state, state.nextRecord, made);
  return openMapped(config, next, { index: state.nextRecord, record: made }, tuple);
}

function openMapped(config: ModelConfig, state: State, mapping: Indexed<Mapping>, tuple: Tuple): Opened {
  const { index, record } = mapping;
  // A mapping whose slot has moved away ends with the next sweep; until then its endpoint can have no other.
  if (ownerOfSlot(config, record.slot).kind !== "self") return { ok: false, drop: "drop_no_port" };
  const referred = withRecord(state, index, { ...record, references: record.references + 1 });
  return add(config, referred, newSession(tuple, record.public, record.slot, index));
}

/**
 * Adds a session. What has its outbound tuple is left from before its slot moved away, and ends now rather than with the next
 * sweep; anything else in the way is a hairpin between two flows, which is not supported.
 */
function add(config: ModelConfig, state: State, session: Session): Opened {
  const keys = flowKeysOf(session);
  if (state.flows.has(keys.inbound)) return { ok: false, drop: "drop_table_full" };
  const stale = staleSession(config, state, keys.outbound);
  const cleared = stale ? endSession(state, stale) : state;
  if (cleared.flows.has(keys.outbound)) return { ok: false, drop: "drop_table_full" };
  const index = cleared.nextRecord;
  return {
    ok: true,
    state: withRecord(cleared, index, session),
    session: { index, record: session },
    endedStale: stale !== undefined,
  };
}

function staleSession(config: ModelConfig, state: State, key: string): Indexed<Session> | undefined {
  const flow = state.flows.get(key);
  const record = flow && state.records.get(flow.record);
  if (record?.kind !== "session" || ownerOfSlot(config, record.slot).kind === "self") return undefined;
  return { index: flow!.record, record };
}

/** The mapping of a UDP endpoint. */
function findMapping(state: State, tuple: Tuple): Indexed<Mapping> | undefined {
  const flow = state.flows.get(flowKey({ ...tuple, destination: ANY_REMOTE }));
  const record = flow && state.records.get(flow.record);
  return record?.kind === "mapping" ? { index: flow!.record, record } : undefined;
}

/** UDP: no mapping has the port. Otherwise: no session with this remote has it (RFC 5382 calls the mapping address-and-port-dependent). */
function isFree(state: State, slot: SlotName, port: number, tuple: Tuple): boolean {
  const remote = tuple.protocol === "udp" ? ANY_REMOTE : tuple.destination;
  return !state.flows.has(
    flowKey({ ...tuple, source: remote, destination: { address: slot.address, port } }),
  );
}

function newMapping({ network, source }: Tuple, mapped: AddressPort, slot: SlotName): Mapping {
  return { kind: "mapping", network, inside: source, public: mapped, slot, references: 0 };
}

function newSession(tuple: Tuple, mapped: AddressPort, slot: SlotName, mapping: number | undefined): Session {
  return {
    kind: "session",
    network: tuple.network,
    protocol: tuple.protocol,
    inside: tuple.source,
    public: mapped,
    remote: tuple.destination,
    slot,
    mapping,
    outbound: NOTHING_SEEN,
    inbound: NOTHING_SEEN,
  };
}

/** The state with a record added or replaced, and the flow entries that lead to it. */
function withRecord(state: State, index: number, record: FlowRecord): State {
  const records = new Map(state.records).set(index, record);
  const nextRecord = Math.max(state.nextRecord, index + 1);
  if (state.records.has(index)) return { ...state, records };
  const keys = flowKeysOf(record);
  const flows = new Map(state.flows)
    .set(keys.outbound, { record: index, direction: "outbound" })
    .set(keys.inbound, { record: index, direction: "inbound" });
  return { records, flows, nextRecord };
}

/** Step 17: notes that a packet of a session was seen at `now` (ms). */
export function notePacket(
  state: State,
  { index, record }: Indexed<Session>,
  direction: Direction,
  tcpFlags: number,
  now: number,
): State {
  const { outbound, inbound } = record;
  const over = outbound.rst || inbound.rst || (outbound.fin && inbound.fin);
  const begunAnew = direction === "outbound" && (tcpFlags & TCP_FLAG.syn) !== 0 && over;
  const session = begunAnew
    ? {
        ...record,
        outbound: { ...NOTHING_SEEN, at: outbound.at },
        inbound: { ...NOTHING_SEEN, at: inbound.at },
      }
    : record;
  const before = session[direction];
  const notes = {
    at: now,
    syn: before.syn || (tcpFlags & TCP_FLAG.syn) !== 0,
    fin: before.fin || (tcpFlags & TCP_FLAG.fin) !== 0,
    rst: before.rst || (tcpFlags & TCP_FLAG.rst) !== 0,
  };
  return withRecord(state, index, { ...session, [direction]: notes });
}

/** Ends a session, and its mapping when no other session uses it. */
export function endSession(state: State, { index, record }: Indexed<Session>): State {
  const without = withoutRecord(state, index);
  const mapping = record.mapping === undefined ? undefined : without.records.get(record.mapping);
  if (record.mapping === undefined || mapping?.kind !== "mapping") return without;
  if (mapping.references === 1) return withoutRecord(without, record.mapping);
  return withRecord(without, record.mapping, { ...mapping, references: mapping.references - 1 });
}

function withoutRecord(state: State, index: number): State {
  const record = state.records.get(index);
  if (!record) return state;
  const records = new Map(state.records);
  const flows = new Map(state.flows);
  records.delete(index);
  for (const key of Object.values(flowKeysOf(record))) flows.delete(key);
  return { ...state, records, flows };
}
