/**
 * What the reference model of the dataplane works on: the configuration of a node as numbers, and the flows it knows.
 * docs/dataplane.md is the specification; the words are the same. All values are immutable.
 *
 * Times are milliseconds of a clock that never goes back; fractions are allowed.
 */
import { type Allocation, outboundPorts } from "../../model/allocation.ts";
import { address, type Cidr, cidr, cidrContains } from "../../model/ipv4.ts";
import type { Dependence, NatBehaviour } from "../../model/nat-behaviour.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { NOBODY } from "../../model/placement.ts";
import { slotRoles } from "../../model/slot-roles.ts";
import { inboundSlot, type PortRange, slotPorts } from "../../model/slots.ts";
import { staticAddresses } from "../../model/static-mappings.ts";
import { type Contact, NO_CONTACT } from "./contact.ts";
import type { Datagram } from "./fragments.ts";
import type { Waiting } from "./held-fragments.ts";
import { NO_PORT_KEY, type PortKey } from "./port-hash.ts";
import { type StaticMappings, staticMappings } from "./static-mappings.ts";

/** The names of all counters. */
export const COUNTERS = [
  "translated_out",
  "translated_in",
  "hairpinned",
  "steered_out",
  "steered_in",
  "unwrapped",
  "passed_on",
  "probes_answered",
  "resets_sent",
  "too_big_sent",
  "prohibited_sent",
  "sessions_created",
  "sessions_expired",
  "log_lost",
  "fragments_held",
  "fragments_released",
  "fragments_expired",
  "drop_malformed",
  "drop_fragment",
  "drop_fragment_limit",
  "drop_unsupported",
  "drop_no_session",
  "drop_no_owner",
  "drop_not_owner",
  "drop_not_syn",
  "drop_table_full",
  "drop_no_port",
  "drop_limit_rate",
  "drop_limit_sessions",
  "drop_limit_ports",
  "drop_too_big",
  "drop_no_route",
  "drop_bad_wrap",
] as const;

export type Counter = (typeof COUNTERS)[number];
export type DropCounter = Extract<Counter, `drop_${string}`>;

/** From an inside endpoint to a remote, or back. */
export type Direction = "outbound" | "inbound";
export type Role = "inside" | "outside" | "both";
/** An end of a node's own pair of interfaces: where the next fragment that was held is released, and where all are taken up again. */
export type PairEnd = "held" | "again";
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
  readonly allocation: Allocation;
  readonly sources: readonly Cidr[];
  readonly behaviour: NatBehaviour;
  readonly addresses: readonly number[];
  /** places[address index][slot number] */
  readonly places: readonly (readonly SlotPlace[])[];
}

/** Who has to do with a slot; see src/model/slot-roles.ts. */
export interface SlotPlace {
  readonly owner: Owner;
  readonly backup: Owner;
  readonly previous: Owner;
  readonly holder: Owner;
  /** The slot of the same address whose ports this node gives to new flows; undefined = it can take none. */
  readonly standIn: SlotName | undefined;
}

export interface ModelConfig {
  /** This node's own address. */
  readonly address: number;
  readonly vxlanPort: number;
  readonly programmed: boolean;
  /** This node's own: see port-hash.ts. */
  readonly portKey: PortKey;
  /** How many sessions and mappings there may be in all. */
  readonly maxRecords: number;
  /** Addresses of the other nodes. */
  readonly peers: ReadonlySet<number>;
  /** Those of them that are dead in this node's eyes. */
  readonly dead: ReadonlySet<number>;
  readonly sources: readonly { readonly block: Cidr; readonly gateway: Gateway }[];
  /** Gateway id → gateway. */
  readonly gateways: ReadonlyMap<string, Gateway>;
  /** Public address → its gateway; undefined for one that has static mappings alone. */
  readonly addresses: ReadonlyMap<number, Gateway | undefined>;
  readonly staticMappings: StaticMappings;
}

/** The configuration of node `node`, as its agent would write it into the maps. */
export function modelConfig(
  spec: NodeConfig["spec"],
  node: string,
  maxRecords: number,
  dead: ReadonlySet<number> = new Set(),
  portKey: PortKey = NO_PORT_KEY,
  returning = false,
): ModelConfig {
  const peers = new Map(spec.peers.map((peer) => [peer.name, address(peer.address)]));
  const ownerOf = (name: string | undefined): Owner => {
    if (name === node) return { kind: "self" };
    const peer = name === undefined ? undefined : peers.get(name);
    return peer === undefined ? { kind: "nobody" } : { kind: "peer", address: peer };
  };
  const gateways = spec.gateways.map((gateway) => ({
    id: gateway.uid,
    portsPerSlot: gateway.portsPerSlot,
    allocation: gateway.allocation,
    sources: gateway.sources.map(cidr),
    behaviour: gateway.behaviour,
    addresses: gateway.addresses.map((placed) => address(placed.address)),
    places: gateway.addresses.map((placed) =>
      slotRoles(placed, gateway, node, returning).map(
        (roles): SlotPlace => ({
          owner: ownerOf(gateway.nodes[roles.owner]),
          backup: ownerOf(gateway.nodes[roles.backup]),
          previous: ownerOf(gateway.nodes[roles.previous]),
          holder: ownerOf(gateway.nodes[roles.holder]),
          standIn:
            roles.standIn === NOBODY
              ? undefined
              : {
                  gateway: gateway.uid,
                  address: address(placed.address),
                  portsPerSlot: gateway.portsPerSlot,
                  number: roles.standIn,
                },
        }),
      ),
    ),
  }));
  return {
    address: address(spec.node.address),
    vxlanPort: spec.vxlan.port,
    programmed: true,
    portKey,
    maxRecords,
    peers: new Set(peers.values()),
    dead,
    sources: gateways.flatMap((gateway) => gateway.sources.map((block) => ({ block, gateway }))),
    gateways: new Map(gateways.map((gateway) => [gateway.id, gateway])),
    addresses: new Map([
      ...staticAddresses(spec).map((a): [number, undefined] => [a, undefined]),
      ...gateways.flatMap((gateway) => gateway.addresses.map((a): [number, Gateway] => [a, gateway])),
    ]),
    staticMappings: staticMappings(spec),
  };
}

/** The gateway that serves an inside address: that of the longest prefix. */
export function gatewayOfSource(config: ModelConfig, source: number): Gateway | undefined {
  const fits = config.sources.filter(({ block }) => cidrContains(block, source));
  return fits.sort((a, b) => b.block.bits - a.block.bits)[0]?.gateway;
}

/** The slot of an endpoint's flows; undefined while the gateway has no address for it. */
export function slotOfSource(gateway: Gateway, network: number, source: AddressPort): SlotName | undefined {
  const chosen = gateway.addresses.length > 0 ? outboundPorts(gateway, network, source) : undefined;
  return chosen && slotName(gateway, gateway.addresses[chosen.addressIndex]!, chosen.slot);
}

/** The ports that an endpoint may have in a slot: all of them, or its block; undefined when that is elsewhere. */
export function portsIn(
  { allocation, ...gateway }: Gateway,
  slot: SlotName,
  network: number,
  source: AddressPort,
): PortRange | undefined {
  if (allocation.method === "Hashed") return slotPorts(slot.number, slot.portsPerSlot);
  const block = outboundPorts({ ...gateway, allocation }, network, source);
  const isHere = block?.slot === slot.number && gateway.addresses[block.addressIndex] === slot.address;
  return isHere ? block.ports : undefined;
}

/** The slot of a public address and port; undefined for the ports below 1024. */
export function slotOfPublic(gateway: Gateway, { address, port }: AddressPort): SlotName | undefined {
  const number = inboundSlot(port, gateway.portsPerSlot);
  return number === undefined ? undefined : slotName(gateway, address, number);
}

/** The slot of an address of a gateway that has this number. */
export function slotName(gateway: Gateway, address: number, number: number): SlotName {
  return { gateway: gateway.id, address, portsPerSlot: gateway.portsPerSlot, number };
}

/** Who has to do with a slot by the present configuration; undefined when the slot does not exist (any more). */
export function placeOfSlot(config: ModelConfig, slot: SlotName): SlotPlace | undefined {
  const gateway = config.gateways.get(slot.gateway);
  if (gateway?.portsPerSlot !== slot.portsPerSlot) return undefined;
  return gateway.places[gateway.addresses.indexOf(slot.address)]?.[slot.number];
}

/** Whether a slot's ports are this node's, so that its sessions in them count. */
export function holdsSlot(config: ModelConfig, slot: SlotName): boolean {
  return placeOfSlot(config, slot)?.holder.kind === "self";
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
  /** The record that covers it: a permission or a mapping; undefined when its port is its own. */
  readonly parent: number | undefined;
  /** Whether the endpoint's limits count it. */
  readonly counted: boolean;
  readonly outbound: Notes;
  readonly inbound: Notes;
}

/** What sessions have in common that share a public port, or are let in by the same filter. */
interface Covering {
  readonly network: number;
  readonly protocol: "udp" | "tcp";
  readonly inside: AddressPort;
  readonly public: AddressPort;
  /** As much of the remote as it depends on; the rest is 0. */
  readonly remote: AddressPort;
  readonly slot: SlotName;
  /** How many records have it as their parent. */
  readonly references: number;
}

/** A public port for all flows of an endpoint's port that it covers (RFC 4787 REQ-1). */
export interface Mapping extends Covering {
  readonly kind: "mapping";
  /** Whether the endpoint's limits count it. */
  readonly counted: boolean;
  /** When its last session ended, while nobody else may have the port yet. */
  readonly restingSince: number | undefined;
}

/** Lets a remote's address in through a mapping that does not depend on the remote (RFC 4787 REQ-8). */
export interface Permission extends Covering {
  readonly kind: "permission";
  /** Its mapping. */
  readonly parent: number;
}

export type FlowRecord = Session | Mapping | Permission;

/** What an endpoint has that is counted. */
export interface EndpointUse {
  readonly sessions: number;
  readonly ports: number;
  /** Sessions and mappings together. */
  readonly records: number;
  /** Milliseconds. */
  readonly paidUntil: number;
}

export interface State {
  /** Record index → record. Indices are never used again; the program's may be. */
  readonly records: ReadonlyMap<number, FlowRecord>;
  /** Tuple (by `flowKey`) → record index and direction. */
  readonly flows: ReadonlyMap<string, { readonly record: number; readonly direction: Direction }>;
  /** Network and inside address → its use. */
  readonly endpoints: ReadonlyMap<string, EndpointUse>;
  readonly nextRecord: number;
  /** Fragmented datagrams on their way, by `datagramKey`. */
  readonly datagrams: ReadonlyMap<string, Datagram>;
  readonly contact: Contact;
  /** Those whose first fragment has not come, by the same key. */
  readonly waiting: ReadonlyMap<string, Waiting>;
}

export const EMPTY_STATE: State = {
  records: new Map(),
  flows: new Map(),
  endpoints: new Map(),
  nextRecord: 0,
  datagrams: new Map(),
  contact: NO_CONTACT,
  waiting: new Map(),
};

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

/** As much of a remote as a mapping or filter depends on. */
export function partOf({ address, port }: AddressPort, dependence: Dependence): AddressPort {
  switch (dependence) {
    case "EndpointIndependent":
      return { address: 0, port: 0 };
    case "AddressDependent":
      return { address, port: 0 };
    case "AddressAndPortDependent":
      return { address, port };
  }
}

/** The key of the entry of a mapping or permission, which is never that of a session. */
export function coveringKey(tuple: Tuple): string {
  return `covering ${flowKey(tuple)}`;
}

/**
 * The keys of the entries that lead to a record: that of its outbound packets and that of its inbound packets. Nobody looks for a permission
 * by the former.
 */
export function flowKeysOf(record: FlowRecord): readonly (readonly [Direction, string])[] {
  const { network, protocol, inside, remote } = record;
  const keyOf = record.kind === "session" ? flowKey : coveringKey;
  const inbound = keyOf({ network, protocol, source: remote, destination: record.public });
  if (record.kind === "permission") return [["inbound", inbound]];
  const outbound = keyOf({ network, protocol, source: inside, destination: remote });
  return [
    ["outbound", outbound],
    ["inbound", inbound],
  ];
}
