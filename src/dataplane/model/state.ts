/**
 * What the reference model of the dataplane works on: the configuration of a node as numbers, and the flows it knows.
 * docs/dataplane.md is the specification; the words are the same. All values are immutable.
 *
 * Times are milliseconds of a clock that never goes back; fractions are allowed.
 */
import { address, type Cidr, cidr, cidrContains } from "../../model/ipv4.ts";
import type { NatBehaviour } from "../../model/nat-behaviour.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { FIRST_PORT, inboundSlot, mix32, outboundSlot, slotPorts } from "../../model/slots.ts";

/** The names of all counters. */
export const COUNTERS = [
  "translated_out",
  "translated_in",
  "steered_out",
  "steered_in",
  "unwrapped",
  "probes_answered",
  "resets_sent",
  "too_big_sent",
  "sessions_created",
  "sessions_expired",
  "drop_malformed",
  "drop_fragment",
  "drop_unsupported",
  "drop_no_session",
  "drop_no_owner",
  "drop_not_owner",
  "drop_not_syn",
  "drop_table_full",
  "drop_no_port",
  "drop_too_big",
  "drop_no_route",
  "drop_bad_wrap",
] as const;

export type Counter = (typeof COUNTERS)[number];
export type DropCounter = Extract<Counter, `drop_${string}`>;

/** From an inside endpoint to a remote, or back. */
export type Direction = "outbound" | "inbound";
export type Role = "inside" | "outside" | "both";
export type Protocol = "tcp" | "udp" | "icmp";

export interface AddressPort {
  readonly address: number;
  readonly port: number;
}

/** Names a slot for as long as it exists: the same ports of an address under another gateway or cut are another slot. */
export interface SlotName {
  readonly gateway: string;
  readonly address: number;
  readonly portsPerSlot: number;
  readonly number: number;
}

export type Owner =
  | { readonly kind: "self" }
  | { readonly kind: "peer"; readonly address: number }
  | { readonly kind: "nobody" };

export interface Gateway {
  /** The gateway object's uid. */
  readonly id: string;
  readonly portsPerSlot: number;
  readonly behaviour: NatBehaviour;
  readonly addresses: readonly number[];
  /** owners[address index][slot number] */
  readonly owners: readonly (readonly Owner[])[];
}

export interface ModelConfig {
  /** This node's own address. */
  readonly address: number;
  readonly vxlanPort: number;
  readonly programmed: boolean;
  /** How many sessions and mappings there may be in all. */
  readonly maxRecords: number;
  /** Addresses of the other nodes. */
  readonly peers: ReadonlySet<number>;
  readonly sources: readonly { readonly block: Cidr; readonly gateway: Gateway }[];
  /** Gateway id → gateway. */
  readonly gateways: ReadonlyMap<string, Gateway>;
  /** Public address → its gateway. */
  readonly addresses: ReadonlyMap<number, Gateway>;
}

/** The configuration of node `node`, as its agent would write it into the maps. */
export function modelConfig(spec: NodeConfig["spec"], node: string, maxRecords: number): ModelConfig {
  const peers = new Map(spec.peers.map((peer) => [peer.name, address(peer.address)]));
  const ownerOf = (name: string | undefined): Owner => {
    if (name === node) return { kind: "self" };
    const peer = name === undefined ? undefined : peers.get(name);
    return peer === undefined ? { kind: "nobody" } : { kind: "peer", address: peer };
  };
  const gateways = spec.gateways.map((gateway) => ({
    sources: gateway.sources.map(cidr),
    gateway: {
      id: gateway.uid,
      portsPerSlot: gateway.portsPerSlot,
      behaviour: gateway.behaviour,
      addresses: gateway.addresses.map((placed) => address(placed.address)),
      owners: gateway.addresses.map((placed) => placed.owners.map((index) => ownerOf(gateway.nodes[index]))),
    },
  }));
  return {
    address: address(spec.node.address),
    vxlanPort: spec.vxlan.port,
    programmed: true,
    maxRecords,
    peers: new Set(peers.values()),
    sources: gateways.flatMap(({ sources, gateway }) => sources.map((block) => ({ block, gateway }))),
    gateways: new Map(gateways.map(({ gateway }) => [gateway.id, gateway])),
    addresses: new Map(gateways.flatMap(({ gateway }) => gateway.addresses.map((a) => [a, gateway]))),
  };
}

/** The gateway that serves an inside address: that of the longest prefix. */
export function gatewayOfSource(config: ModelConfig, source: number): Gateway | undefined {
  const fits = config.sources.filter(({ block }) => cidrContains(block, source));
  return fits.sort((a, b) => b.block.bits - a.block.bits)[0]?.gateway;
}

/** The slot of an endpoint's flows; undefined while the gateway has no address. */
export function slotOfSource(gateway: Gateway, network: number, source: number): SlotName | undefined {
  if (gateway.addresses.length === 0) return undefined;
  const { addressIndex, slot } = outboundSlot(network, source, gateway.addresses, gateway.portsPerSlot);
  return slotName(gateway, gateway.addresses[addressIndex]!, slot);
}

/** The slot of a public address and port; undefined for the ports below 1024. */
export function slotOfPublic(gateway: Gateway, { address, port }: AddressPort): SlotName | undefined {
  const number = inboundSlot(port, gateway.portsPerSlot);
  return number === undefined ? undefined : slotName(gateway, address, number);
}

function slotName(gateway: Gateway, address: number, number: number): SlotName {
  return { gateway: gateway.id, address, portsPerSlot: gateway.portsPerSlot, number };
}

/** Who owns a slot by the present configuration; nobody when the slot does not exist (any more). */
export function ownerOfSlot(config: ModelConfig, slot: SlotName): Owner {
  const gateway = config.gateways.get(slot.gateway);
  if (gateway?.portsPerSlot !== slot.portsPerSlot) return { kind: "nobody" };
  return gateway.owners[gateway.addresses.indexOf(slot.address)]?.[slot.number] ?? { kind: "nobody" };
}

/** A prime that divides no number of ports a slot can have, so that its multiples reach all of them. */
const PORT_STRIDE = 39869;

/**
 * The ports of a slot in the order in which they are tried for an endpoint: first the image of its source port, then all in strides from a
 * place that the endpoint's hash names, wrapping within the slot.
 */
export function portsToTry(
  { number, portsPerSlot }: SlotName,
  { address, port }: AddressPort,
): readonly number[] {
  const { first } = slotPorts(number, portsPerSlot);
  const preferred = ((port - FIRST_PORT + 65536) % 65536) % portsPerSlot;
  const start = mix32(mix32(address) ^ port) % portsPerSlot;
  const others = Array.from(
    { length: portsPerSlot },
    (_, i) => first + ((start + i * PORT_STRIDE) % portsPerSlot),
  );
  return [first + preferred, ...others];
}

/** A packet's flow, as the packet shows it. ICMP echo has the identifier as the endpoint's port and 0 as the remote's. */
export interface Tuple {
  readonly network: number;
  readonly protocol: Protocol;
  readonly source: AddressPort;
  readonly destination: AddressPort;
}

/** What the packets of one direction have shown so far. */
export interface Notes {
  /** Time of the last packet; undefined when there was none. */
  readonly at: number | undefined;
  readonly syn: boolean;
  readonly fin: boolean;
  readonly rst: boolean;
}

export const NOTHING_SEEN: Notes = { at: undefined, syn: false, fin: false, rst: false };

export interface Session {
  readonly kind: "session";
  readonly network: number;
  readonly protocol: Protocol;
  readonly inside: AddressPort;
  readonly public: AddressPort;
  readonly remote: AddressPort;
  readonly slot: SlotName;
  /** Record of its mapping: UDP only. */
  readonly mapping: number | undefined;
  readonly outbound: Notes;
  readonly inbound: Notes;
}

/** Endpoint-independent mapping of a UDP endpoint (RFC 4787 REQ-1). */
export interface Mapping {
  readonly kind: "mapping";
  readonly network: number;
  readonly inside: AddressPort;
  readonly public: AddressPort;
  readonly slot: SlotName;
  /** How many sessions use it. */
  readonly references: number;
}

export type FlowRecord = Session | Mapping;

export interface State {
  /** Record index → record. Indices are never used again; the program's may be. */
  readonly records: ReadonlyMap<number, FlowRecord>;
  /** Tuple (by `flowKey`) → record index and direction. */
  readonly flows: ReadonlyMap<string, { readonly record: number; readonly direction: Direction }>;
  readonly nextRecord: number;
}

export const EMPTY_STATE: State = { records: new Map(), flows: new Map(), nextRecord: 0 };

/** All sessions. */
export function sessionsOf(state: State): readonly Session[] {
  return [...state.records.values()].filter((record) => record.kind === "session");
}

/** All mappings. */
export function mappingsOf(state: State): readonly Mapping[] {
  return [...state.records.values()].filter((record) => record.kind === "mapping");
}

/** A tuple as a key of `State.flows`. */
export function flowKey({ network, protocol, source, destination }: Tuple): string {
  return `${network}/${protocol}/${source.address}:${source.port}>${destination.address}:${destination.port}`;
}

/** The remote of a mapping's flow entries. */
export const ANY_REMOTE: AddressPort = { address: 0, port: 0 };

/** The keys of the two entries that lead to a record: that of its outbound packets and that of its inbound packets. */
export function flowKeysOf(record: FlowRecord): Readonly<Record<Direction, string>> {
  const { network, inside } = record;
  const protocol = record.kind === "session" ? record.protocol : "udp";
  const remote = record.kind === "session" ? record.remote : ANY_REMOTE;
  return {
    outbound: flowKey({ network, protocol, source: inside, destination: remote }),
    inbound: flowKey({ network, protocol, source: remote, destination: record.public }),
  };
}
