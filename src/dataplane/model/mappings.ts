/**
 * Mappings and permissions: which flows of an endpoint share a public port, and whose packets come in through it (steps 13 and 14 of
 * docs/dataplane.md). A session has at most one parent, a permission always its mapping; a mapping has none.
 */
import type { Dependence, NatBehaviour } from "../../model/nat-behaviour.ts";
import { hasLimits, isPortLimited } from "./limits.ts";
import { portHash } from "./port-hash.ts";
import { portsToTry } from "./port-order.ts";
import { addRecord, changeRecord, recordAt, removeRecord } from "./records.ts";
import {
  type AddressPort,
  coveringKey,
  type DropCounter,
  flowKey,
  holdsSlot,
  type Mapping,
  type ModelConfig,
  type Permission,
  type Protocol,
  partOf,
  portsIn,
  type SlotName,
  type State,
  type Tuple,
} from "./state.ts";
import { isForwarded } from "./static-mappings.ts";

/** What the mapping and the filter of a protocol depend on. Those of ICMP are the identifier's and the remote's address alone. */
function dependencesOf(
  { mapping, filtering }: NatBehaviour,
  protocol: Protocol,
): { readonly mapping: Dependence; readonly filtering: Dependence } {
  if (protocol === "icmp") {
    return { mapping: "AddressAndPortDependent", filtering: "AddressAndPortDependent" };
  }
  return { mapping: mapping[protocol], filtering: filtering[protocol] };
}

export type Mapped =
  | {
      readonly ok: true;
      readonly state: State;
      readonly public: AddressPort;
      readonly slot: SlotName;
      /** The record that covers the new session. */
      readonly parent: number | undefined;
    }
  | { readonly ok: false; readonly drop: DropCounter };

/** Gives a new flow its public address and port: those of the mapping that covers it, or a free port of the slot, if there is one. */
export function mapFlow(
  config: ModelConfig,
  state: State,
  behaviour: NatBehaviour,
  slot: SlotName | undefined,
  tuple: Tuple,
): Mapped {
  const { protocol } = tuple;
  const depends = dependencesOf(behaviour, protocol);
  if (protocol === "icmp" || depends.mapping === "AddressAndPortDependent") {
    if (isPortLimited(state, { network: tuple.network, inside: tuple.source }, behaviour)) {
      return refused("drop_limit_ports");
    }
    const port = findPort(config, slot, tuple, tuple.destination, (candidate) => {
      return !state.flows.has(flowKey({ ...tuple, source: tuple.destination, destination: candidate }));
    });
    return slot && port
      ? { ok: true, state, public: port, slot, parent: undefined }
      : refused("drop_no_port");
  }
  const covered = { ...tuple, protocol };
  const mapped = refer(config, state, slot, covered, behaviour);
  if (!mapped.ok || depends.mapping !== "EndpointIndependent" || depends.filtering !== "AddressDependent") {
    return mapped;
  }
  return permit(config, mapped, covered);
}

type Covered = Tuple & { readonly protocol: "udp" | "tcp" };
type Success = Extract<Mapped, { ok: true }>;

const refused = (drop: DropCounter): Mapped => ({ ok: false, drop });

/** A mapping's new child: the one that is there, or one that is made. */
function refer(
  config: ModelConfig,
  state: State,
  slot: SlotName | undefined,
  tuple: Covered,
  behaviour: NatBehaviour,
): Mapped {
  const { network, protocol, source } = tuple;
  const remote = partOf(tuple.destination, behaviour.mapping[protocol]);
  const known = recordAt(state, coveringKey({ ...tuple, destination: remote }));
  if (known?.record.kind === "mapping") {
    const { index, record } = known;
    // A mapping whose slot has moved away ends with the next sweep; until then its endpoint can have no other.
    if (!holdsSlot(config, record.slot)) return refused("drop_no_port");
    const referred = { ...record, references: record.references + 1, restingSince: undefined };
    const next = changeRecord(state, index, referred);
    return { ok: true, state: next, public: record.public, slot: record.slot, parent: index };
  }
  // The session itself needs a record too.
  if (state.records.size + 2 > config.maxRecords) return refused("drop_table_full");
  if (isPortLimited(state, { network, inside: source }, behaviour)) return refused("drop_limit_ports");
  const port = findPort(config, slot, tuple, remote, (candidate) => {
    return !state.flows.has(coveringKey({ ...tuple, source: remote, destination: candidate }));
  });
  if (!slot || !port) return refused("drop_no_port");
  const common = { network, protocol, inside: source, public: port, remote, slot };
  const counted = hasLimits(behaviour);
  const mapping: Mapping = { kind: "mapping", ...common, counted, references: 1, restingSince: undefined };
  return { ok: true, state: addRecord(state, mapping), public: port, slot, parent: state.nextRecord };
}

/** Puts the permission of the remote's address between a mapping and its new child. */
function permit(config: ModelConfig, mapped: Success, tuple: Covered): Mapped {
  const { state, slot, parent } = mapped;
  const remote = partOf(tuple.destination, "AddressDependent");
  const known = recordAt(state, coveringKey({ ...tuple, source: remote, destination: mapped.public }));
  if (known) {
    const { index, record } = known;
    if (record.kind !== "permission" || record.parent !== parent) return refused("drop_table_full");
    const referred = changeRecord(state, index, { ...record, references: record.references + 1 });
    return { ...mapped, state: unreferTo(referred, parent), parent: index };
  }
  if (state.records.size + 2 > config.maxRecords) return refused("drop_table_full");
  const { network, protocol, source } = tuple;
  const common = { network, protocol, inside: source, public: mapped.public, remote, slot };
  const permission: Permission = { kind: "permission", ...common, references: 1, parent: parent! };
  return { ...mapped, state: addRecord(state, permission), parent: state.nextRecord };
}

/** Takes back one of several references to a mapping. */
function unreferTo(state: State, index: number): State {
  const record = state.records.get(index);
  if (record?.kind !== "mapping") return state;
  return changeRecord(state, index, { ...record, references: record.references - 1 });
}

function findPort(
  config: ModelConfig,
  slot: SlotName | undefined,
  { network, protocol, source }: Tuple,
  remote: AddressPort,
  isFree: (candidate: AddressPort) => boolean,
): AddressPort | undefined {
  if (!slot) return undefined;
  const range = portsIn(config.gateways.get(slot.gateway)!, slot, network, source);
  if (!range) return undefined;
  const hash = () => portHash(config.portKey, network, source, remote);
  for (const port of portsToTry(range, protocol, source.port, remote, hash)) {
    const candidate = { address: slot.address, port };
    if (!isForwarded(config.staticMappings, protocol, candidate) && isFree(candidate)) return candidate;
  }
  return undefined;
}

/** One child of a mapping or permission is gone at `now` (ms). The last takes its parent along, unless its port has to rest. */
export function release(config: ModelConfig, state: State, parent: number | undefined, now: number): State {
  const record = parent === undefined ? undefined : state.records.get(parent);
  if (parent === undefined || !record || record.kind === "session") return state;
  const references = record.references - 1;
  if (references > 0) return changeRecord(state, parent, { ...record, references });
  if (record.kind === "permission") {
    return release(config, removeRecord(state, parent), record.parent, now);
  }
  return holdDown(config, record) > 0
    ? changeRecord(state, parent, { ...record, references, restingSince: now })
    : removeRecord(state, parent);
}

/** How long a port rests (ms): only where anybody's packets came in, so that they do not come in to somebody else (RFC 6888 REQ-8). */
function holdDown(config: ModelConfig, { slot, protocol }: Mapping): number {
  const behaviour = config.gateways.get(slot.gateway)?.behaviour;
  if (behaviour?.filtering[protocol] !== "EndpointIndependent") return 0;
  return holdsSlot(config, slot) ? behaviour.holdDownSeconds * 1000 : 0;
}

/** Whether a mapping without sessions has rested for long enough at `now` (ms). */
export function hasRested(config: ModelConfig, mapping: Mapping, now: number): boolean {
  return mapping.references === 0 && now - (mapping.restingSince ?? now) >= holdDown(config, mapping);
}

/** The mapping or permission that stands under a key and has sessions, in a slot of this node. */
function liveAt(config: ModelConfig, state: State, key: string): Mapping | Permission | undefined {
  const record = recordAt(state, key)?.record;
  if (!record || record.kind === "session" || record.references === 0) return undefined;
  return holdsSlot(config, record.slot) ? record : undefined;
}

/** Step 13: what lets in an inbound packet that has no session; undefined when nothing does. */
export function admittedBy(
  config: ModelConfig,
  state: State,
  behaviour: NatBehaviour,
  tuple: Tuple,
): Mapping | Permission | undefined {
  const { filtering } = dependencesOf(behaviour, tuple.protocol);
  if (filtering === "AddressAndPortDependent") return undefined;
  // An address of zeros, which no remote has, would pass for any.
  if (filtering === "AddressDependent" && tuple.source.address === 0) return undefined;
  return liveAt(config, state, coveringKey({ ...tuple, source: partOf(tuple.source, filtering) }));
}

/** The mapping that a new flow of the endpoint would be a child of, if it has sessions. */
export function coveringMapping(
  config: ModelConfig,
  state: State,
  behaviour: NatBehaviour,
  tuple: Tuple,
): Mapping | Permission | undefined {
  const { mapping } = dependencesOf(behaviour, tuple.protocol);
  return liveAt(config, state, coveringKey({ ...tuple, destination: partOf(tuple.destination, mapping) }));
}

/** Step 14: the mapping of an endpoint by which the packet was let in that an outbound one without a session answers. */
export function answeredThrough(
  config: ModelConfig,
  state: State,
  behaviour: NatBehaviour,
  tuple: Tuple,
): Mapping | Permission | undefined {
  const mapped = coveringMapping(config, state, behaviour, tuple);
  const answered = { ...tuple, source: tuple.destination, destination: mapped?.public ?? tuple.source };
  return mapped && admittedBy(config, state, behaviour, answered);
}
