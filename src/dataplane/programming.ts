/**
 * Brings the maps to what the tables say. Only differences are written, in an order in which every packet meets either the old
 * truth or the new one: what is referred to is written before what refers to it, and removed after it.
 */
import { swap32 } from "./btf.ts";
import { clearGatewayCounters } from "./counter-list.ts";
import type { Repair } from "./dataplane.ts";
import {
  addressKey,
  encodeAddressEntry,
  encodeGateway,
  encodeSource,
  encodeSourceKey,
  encodeStatic,
  type KernelMap,
  type KernelMaps,
  readArray,
  uint32Key,
  writeArray,
} from "./kernel-maps.ts";
import { type Codecs, SELF } from "./layouts.ts";
import * as bpf from "./libbpf.ts";
import { emptySlots, SLOT_WORDS, type Tables } from "./tables.ts";

/** Keys and values of a hash or trie map, as hexadecimal text (so that they can be compared and be keys of a Map). */
type RawEntries = ReadonlyMap<string, string>;

function readRaw(map: KernelMap): Map<string, string> {
  const { count, keys, values } = bpf.readEntries(map.fd, map.info);
  const { keySize, valueSize } = map.info;
  const entries = new Map<string, string>();
  for (let i = 0; i < count; i++) {
    entries.set(
      keys.toString("hex", i * keySize, (i + 1) * keySize),
      values.toString("hex", i * valueSize, (i + 1) * valueSize),
    );
  }
  return entries;
}

interface HashDifference {
  /** Writes what is missing or different; returns how many entries that were. */
  write(): number;
  /** Deletes what is too much; returns how many entries that were. */
  prune(): number;
}

function compareHash(map: KernelMap, wanted: RawEntries): HashDifference {
  const current = readRaw(map);
  const hex = (text: string) => Buffer.from(text, "hex");
  return {
    write() {
      const changed = [...wanted].filter(([key, value]) => current.get(key) !== value);
      for (const [key, value] of changed) bpf.update(map.fd, hex(key), hex(value));
      return changed.length;
    },
    prune() {
      const stale = [...current.keys()].filter((key) => !wanted.has(key));
      for (const key of stale) bpf.remove(map.fd, hex(key));
      return stale.length;
    },
  };
}

/** Makes the first entries of an array map equal to `wanted` (raw values); returns how many differed. */
function writeArrayDifference(map: KernelMap, wanted: Buffer): number {
  const { valueSize } = map.info;
  const count = wanted.length / valueSize;
  if (count === 0) return 0;
  const current = readArray(map, count);
  if (current.equals(wanted)) return 0;
  const differs = (i: number) =>
    current.compare(wanted, i * valueSize, (i + 1) * valueSize, i * valueSize, (i + 1) * valueSize) !== 0;
  const indices = Array.from({ length: count }, (_, i) => i).filter(differs);
  const [first, last] = [indices[0]!, indices.at(-1)!];
  writeArray(map, first, wanted.subarray(first * valueSize, (last + 1) * valueSize));
  return indices.length;
}

function encodeNodes(tables: Tables, count: number): Buffer {
  const buffer = Buffer.alloc(4 * count);
  for (const [index, address] of tables.nodes) buffer.writeUInt32BE(address, 4 * index);
  return buffer;
}

function encodeGateways(codecs: Codecs, tables: Tables, count: number): Buffer {
  const size = codecs.gateway.size;
  const buffer = Buffer.alloc(size * count);
  for (const [index, entry] of tables.gateways) encodeGateway(codecs, entry).copy(buffer, index * size);
  return buffer;
}

/** `slotsInUse` counts the slots that the kernel may know of; those that the tables do not name belong to nobody. */
function encodeSlots(tables: Tables, slotsInUse: number): Buffer {
  const slots = emptySlots(Math.max(tables.slots.length / SLOT_WORDS, slotsInUse));
  slots.set(tables.slots);
  return Buffer.from(slots.buffer);
}

const highest = (indices: Iterable<number>): number => Math.max(-1, ...indices);

/** What the kernel may still refer to, beyond what the tables name. */
export interface InUse {
  readonly nodes: Iterable<number>;
  readonly gateways: Iterable<number>;
  readonly slots: number;
}

/** Writes the tables into the maps. Returns what was different, one entry for each map. */
export function programMaps(maps: KernelMaps, codecs: Codecs, tables: Tables, inUse: InUse): Repair[] {
  const repairs: Repair[] = [];
  const report = (map: string, entries: number) => {
    if (entries > 0) repairs.push({ what: "map", detail: `${map}: ${entries} entries` });
  };
  const toHex = (key: Buffer, value: Buffer): [string, string] => [
    key.toString("hex"),
    value.toString("hex"),
  ];
  const peers = compareHash(
    maps.node_addresses,
    new Map([...tables.nodes].map(([index, address]) => toHex(addressKey(address), uint32Key(index)))),
  );
  const addresses = compareHash(
    maps.addresses,
    new Map(
      [...tables.addresses].map(([key, entry]) => toHex(addressKey(key), encodeAddressEntry(codecs, entry))),
    ),
  );
  const sources = compareHash(
    maps.sources,
    new Map(
      tables.sources.map((source) => toHex(encodeSourceKey(codecs, source), encodeSource(codecs, source))),
    ),
  );
  const statics = compareHash(
    maps.static_mappings,
    new Map(tables.staticMappings.map((entry) => toHex(...encodeStatic(codecs, entry)))),
  );
  const nodeCount = 1 + highest([...tables.nodes.keys(), ...inUse.nodes]);
  const gatewayCount = 1 + highest([...tables.gateways.keys(), ...inUse.gateways]);

  report("nodes", writeArrayDifference(maps.nodes, encodeNodes(tables, nodeCount)));
  report("node_addresses", peers.write());
  report("slots", writeArrayDifference(maps.slots, encodeSlots(tables, inUse.slots)));
  report("addresses", addresses.write());
  report("static_mappings", statics.write());
  report("gateways", writeArrayDifference(maps.gateways, encodeGateways(codecs, tables, gatewayCount)));
  for (const index of new Set(inUse.gateways)) {
    if (!tables.gateways.has(index)) clearGatewayCounters(maps, index);
  }
  report("sources", sources.write());
  report("sources", sources.prune());
  report("static_mappings", statics.prune());
  report("addresses", addresses.prune());
  report("node_addresses", peers.prune());
  return repairs;
}

/** Writes this node's own row; `programmed` says that all the rest is in place. */
export function programConfig(
  maps: KernelMaps,
  codecs: Codecs,
  tables: Tables,
  vxlanPort: number,
  programmed: boolean,
): Repair[] {
  const key = uint32Key(0);
  const before = bpf.lookup(maps.config.fd, key, codecs.config.size)!;
  const row = codecs.config.encode({
    ...codecs.config.decode(before),
    node_address: swap32(tables.nodes.get(SELF)!),
    vxlan_port: ((vxlanPort & 0xff) << 8) | (vxlanPort >>> 8),
    programmed: programmed ? 1 : 0,
    static_mappings: tables.staticMappings.length,
  });
  if (row.equals(before)) return [];
  bpf.update(maps.config.fd, key, row);
  return [{ what: "map", detail: "config" }];
}
