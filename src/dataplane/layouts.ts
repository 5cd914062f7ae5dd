/** The structures of bpf/maps.h as TypeScript sees them. The members' places come from BTF; numbers are as they lie in memory. */
import { type Codec, type Layouts, parseBtf, structCodec } from "./btf.ts";
import { readBtf } from "./libbpf.ts";

export const SELF = 0;
export const NOBODY_INDEX = 0xffff;
/** The gateway of a public address that has none. */
export const NO_GATEWAY = 0xffffffff;

export type ConfigRow = {
  node_address: number;
  vxlan_port: number;
  programmed: number;
  clock_offset: bigint;
  static_mappings: number;
  stands_down: number;
  returning_until: bigint;
  port_key0: bigint;
  port_key1: bigint;
};
export type NodeRow = { address: number };
export type SourceKeyRow = { prefix_bits: number; network: number; address: number };
export type SourceRow = { gateway: number; index_offset: number };
export type GatewayRow = {
  ports_per_slot: number;
  ports_per_endpoint: number;
  address_count: number;
  timeouts: readonly number[];
  hold_down: number;
  endpoint_ports: number;
  endpoint_sessions: number;
  endpoint_session_rate: number;
  endpoint_session_burst: number;
  mss_clamp: number;
  mapping: readonly number[];
  filtering: readonly number[];
  inbound_refreshes_udp: number;
  answers_reset: number;
  answers_prohibited: number;
  logs_sessions: number;
  spreads_flows: number;
  addresses: readonly number[];
};
export type AddressRow = {
  gateway: number;
  first_slot: number;
  slot_count: number;
  ports_per_slot: number;
  has_forwards: number;
};
export type StaticKeyRow = { protocol_network: number; address: number; port: number; direction: number };
export type StaticMappingRow = { address: number; port: number; unused: number };
export type SlotRow = {
  owner: number;
  backup: number;
  previous: number;
  holder: number;
  stand_in: number;
};
export type FlowRow = { record: number; generation: number; direction: number };
export type RecordRow = {
  seen_out: bigint;
  seen_in: bigint;
  inside_address: number;
  public_address: number;
  remote_address: number;
  inside_port: number;
  public_port: number;
  remote_port: number;
  generation: number;
  protocol_network: number;
  slot: number;
  parent: number;
  references: number;
  gateway: number;
  kind: number;
  tcp_out: number;
  tcp_in: number;
  counted: number;
  is_hairpin: number;
};
export type SweeperRow = {
  timer: number;
  last_run: bigint;
  cursor: number;
  high_water: number;
  in_use: number;
};
export type LogRow = {
  time: bigint;
  inside_address: number;
  public_address: number;
  remote_address: number;
  inside_port: number;
  public_port: number;
  remote_port: number;
  protocol: number;
  event: number;
};
export type CountRow = { packets: bigint; bytes: bigint };

export interface Codecs {
  readonly config: Codec<ConfigRow>;
  readonly node: Codec<NodeRow>;
  readonly source_key: Codec<SourceKeyRow>;
  readonly source: Codec<SourceRow>;
  readonly gateway: Codec<GatewayRow>;
  readonly public_address: Codec<AddressRow>;
  readonly static_key: Codec<StaticKeyRow>;
  readonly static_mapping: Codec<StaticMappingRow>;
  readonly slot: Codec<SlotRow>;
  readonly flow: Codec<FlowRow>;
  readonly record: Codec<RecordRow>;
  readonly sweeper: Codec<SweeperRow>;
  readonly count: Codec<CountRow>;
  readonly session_log_entry: Codec<LogRow>;
  /** Counter names in lower case, by index. */
  readonly counterNames: readonly string[];
  readonly recordKinds: { readonly session: number; readonly mapping: number };
}

export function codecsOf(layouts: Layouts): Codecs {
  const { struct } = layouts;
  const recordKinds = layouts.enumNames("record_kind");
  return {
    config: structCodec(
      struct("config", [
        "node_address",
        "vxlan_port",
        "programmed",
        "clock_offset",
        "static_mappings",
        "stands_down",
        "returning_until",
        "port_key0",
        "port_key1",
      ]),
    ),
    node: structCodec(struct("node", ["address"])),
    source_key: structCodec(struct("source_key", ["prefix_bits", "network", "address"])),
    source: structCodec(struct("source", ["gateway", "index_offset"])),
    gateway: structCodec(
      struct("gateway", [
        "ports_per_slot",
        "ports_per_endpoint",
        "address_count",
        "timeouts",
        "hold_down",
        "endpoint_ports",
        "endpoint_sessions",
        "endpoint_session_rate",
        "endpoint_session_burst",
        "mss_clamp",
        "mapping",
        "filtering",
        "inbound_refreshes_udp",
        "answers_reset",
        "answers_prohibited",
        "logs_sessions",
        "spreads_flows",
        "addresses",
      ]),
    ),
    public_address: structCodec(
      struct("public_address", ["gateway", "first_slot", "slot_count", "ports_per_slot", "has_forwards"]),
    ),
    static_key: structCodec(struct("static_key", ["protocol_network", "address", "port", "direction"])),
    static_mapping: structCodec(struct("static_mapping", ["address", "port", "unused"])),
    slot: structCodec(struct("slot", ["owner", "backup", "previous", "holder", "stand_in"])),
    flow: structCodec(struct("flow", ["record", "generation", "direction"])),
    record: structCodec(
      struct("record", [
        "seen_out",
        "seen_in",
        "inside_address",
        "public_address",
        "remote_address",
        "inside_port",
        "public_port",
        "remote_port",
        "generation",
        "protocol_network",
        "slot",
        "parent",
        "references",
        "gateway",
        "kind",
        "tcp_out",
        "tcp_in",
        "counted",
        "is_hairpin",
      ]),
    ),
    sweeper: structCodec(struct("sweeper", ["timer", "last_run", "cursor", "high_water", "in_use"])),
    count: structCodec(struct("count", ["packets", "bytes"])),
    session_log_entry: structCodec(
      struct("session_log_entry", [
        "time",
        "inside_address",
        "public_address",
        "remote_address",
        "inside_port",
        "public_port",
        "remote_port",
        "protocol",
        "event",
      ]),
    ),
    counterNames: layouts
      .enumNames("counter")
      .filter((name) => name !== "COUNTERS")
      .map((name) => name.toLowerCase()),
    recordKinds: { session: recordKinds.indexOf("SESSION"), mapping: recordKinds.indexOf("MAPPING") },
  };
}

/** Reads the layouts of an object file and checks them against what this version of Natto knows. */
export function readCodecs(objectPath: string): Codecs {
  return codecsOf(parseBtf(readBtf(objectPath)));
}
