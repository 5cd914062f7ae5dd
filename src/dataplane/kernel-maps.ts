/** The maps in the kernel, read and written as the entries of tables.ts. */
import { DEPENDENCES, type Dependence } from "../model/nat-behaviour.ts";
import { swap16, swap32 } from "./btf.ts";
import type { Codecs, ConfigRow, SweeperRow } from "./layouts.ts";
import * as bpf from "./libbpf.ts";
import type { AddressEntry, GatewayEntry, SourceEntry, StaticEntry } from "./tables.ts";

export const MAP_NAMES = [
  "config",
  "nodes",
  "node_addresses",
  "sources",
  "gateways",
  "addresses",
  "slots",
  "flows",
  "records",
  "free_records",
  "sweeper",
  "counters",
  "gateway_counts",
  "session_log",
  "answer_limits",
  "endpoints",
  "crowds",
  "static_mappings",
  "stages",
  "dead_nodes",
  "datagrams",
  "fragment_shares",
  "fragments_in_hand",
  "contacts",
  "waiting",
  "held_fragments",
  "held_in_hand",
  "held_ends",
] as const;
export type MapName = (typeof MAP_NAMES)[number];

export interface KernelMap {
  readonly fd: number;
  readonly info: bpf.MapInfo;
}

export type KernelMaps = Readonly<Record<MapName, KernelMap>>;

export function uint32Key(value: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(value);
  return key;
}

const ZERO = uint32Key(0);

export function readConfig(maps: KernelMaps, codecs: Codecs): ConfigRow {
  return codecs.config.decode(bpf.lookup(maps.config.fd, ZERO, codecs.config.size)!);
}

export function writeConfig(maps: KernelMaps, codecs: Codecs, row: ConfigRow): void {
  bpf.update(maps.config.fd, ZERO, codecs.config.encode(row));
}

export function readSweeper(maps: KernelMaps, codecs: Codecs): SweeperRow {
  return codecs.sweeper.decode(bpf.lookup(maps.sweeper.fd, ZERO, codecs.sweeper.size)!);
}

/** Reads a whole array map as raw values, from index 0 to `count`. */
export function readArray(map: KernelMap, count = map.info.maxEntries): Buffer {
  return bpf.readEntries(map.fd, map.info, count).values;
}

/** Writes consecutive raw values of an array map. */
export function writeArray(map: KernelMap, first: number, values: Buffer): void {
  const count = values.length / map.info.valueSize;
  const keys = Buffer.alloc(4 * count);
  for (let i = 0; i < count; i++) keys.writeUInt32LE(first + i, 4 * i);
  bpf.updateBatch(map.fd, keys, values, count);
}

/** Node index → address, of the indices that are in use. */
export function readNodes(maps: KernelMaps): Map<number, number> {
  const values = readArray(maps.nodes);
  const nodes = new Map<number, number>();
  for (let i = 0; i < maps.nodes.info.maxEntries; i++) {
    const address = values.readUInt32BE(4 * i);
    if (address !== 0) nodes.set(i, address);
  }
  return nodes;
}

export function readAddresses(maps: KernelMaps, codecs: Codecs): Map<number, AddressEntry> {
  const { count, keys, values } = bpf.readEntries(maps.addresses.fd, maps.addresses.info);
  const entries = new Map<number, AddressEntry>();
  for (let i = 0; i < count; i++) {
    const row = codecs.public_address.decode(values, i * codecs.public_address.size);
    entries.set(keys.readUInt32BE(4 * i), {
      gateway: row.gateway,
      firstSlot: row.first_slot,
      slotCount: row.slot_count,
      portsPerSlot: row.ports_per_slot,
      hasForwards: row.has_forwards !== 0,
    });
  }
  return entries;
}

export function encodeAddressEntry(codecs: Codecs, entry: AddressEntry): Buffer {
  return codecs.public_address.encode({
    gateway: entry.gateway,
    first_slot: entry.firstSlot,
    slot_count: entry.slotCount,
    ports_per_slot: entry.portsPerSlot,
    has_forwards: entry.hasForwards ? 1 : 0,
  });
}

/** The key and the value of one direction of a static mapping. */
export function encodeStatic(
  codecs: Codecs,
  { direction, network, protocol, from, to }: StaticEntry,
): [Buffer, Buffer] {
  const key = codecs.static_key.encode({
    protocol_network: protocol | (network << 8),
    address: swap32(from.address),
    port: swap16(from.port),
    direction: direction === "outbound" ? 1 : 2,
  });
  const value = codecs.static_mapping.encode({
    address: swap32(to.address),
    port: swap16(to.port),
    unused: 0,
  });
  return [key, value];
}

/** In place of an MSS: as much as the route takes. */
const MSS_OF_ROUTE = 0xffff;

export function encodeGateway(codecs: Codecs, entry: GatewayEntry): Buffer {
  const { mapping, filtering, timeouts, inboundRefresh, limits, failFast, ...rest } = entry.behaviour;
  const byProtocol = (choice: { readonly udp: Dependence; readonly tcp: Dependence }) =>
    [choice.udp, choice.tcp].map((dependence) => DEPENDENCES.indexOf(dependence));
  const { allocation } = entry;
  return codecs.gateway.encode({
    ports_per_slot: entry.portsPerSlot,
    ports_per_endpoint: allocation.method === "Deterministic" ? allocation.portsPerEndpoint : 0,
    address_count: entry.addresses.length,
    timeouts: [
      timeouts.tcpEstablished,
      timeouts.tcpHalfOpen,
      timeouts.tcpTransitory,
      timeouts.udp,
      timeouts.icmp,
    ],
    hold_down: rest.holdDownSeconds,
    endpoint_ports: limits.portsPerEndpoint,
    endpoint_sessions: limits.sessionsPerEndpoint,
    endpoint_session_rate: limits.newSessionsPerSecond,
    endpoint_session_burst: limits.newSessionsBurst,
    mss_clamp: rest.mssClamp === "PathMtu" ? MSS_OF_ROUTE : (rest.mssClamp ?? 0),
    mapping: byProtocol(mapping),
    filtering: byProtocol(filtering),
    inbound_refreshes_udp: Number(inboundRefresh.udp),
    answers_reset: Number(failFast.tcpReset),
    answers_prohibited: Number(failFast.icmpProhibited),
    logs_sessions: Number(entry.log === "Sessions"),
    spreads_flows: Number(allocation.method === "Hashed" && allocation.spread === "Flow"),
    addresses: entry.addresses.map(swap32),
  });
}

export function encodeSourceKey(codecs: Codecs, source: SourceEntry): Buffer {
  return codecs.source_key.encode({
    prefix_bits: 32 + source.bits,
    network: source.network,
    address: swap32(source.first),
  });
}

export function encodeSource(codecs: Codecs, { gateway, first, firstIndex }: SourceEntry): Buffer {
  return codecs.source.encode({ gateway, index_offset: (firstIndex - first) >>> 0 });
}

/** The key of an address in the maps that are looked up by one. */
export function addressKey(address: number): Buffer {
  return uint32Key(swap32(address));
}
