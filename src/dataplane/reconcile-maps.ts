/** Brings the maps to what a NodeConfig says, whatever they hold now. */
import type { NodeConfig } from "../model/node-config.ts";
import type { Repair } from "./dataplane.ts";
import { type KernelMaps, readAddresses, readNodes } from "./kernel-maps.ts";
import { type Codecs, NO_GATEWAY, SELF } from "./layouts.ts";
import { programConfig, programMaps } from "./programming.ts";
import { type AddressEntry, computeTables, SLOT_WORDS, type SlotRange, type Tables } from "./tables.ts";

/** How long a freed slot range is not used again: longer than the sweep that ends its sessions takes. */
const REST_MS = 10_000;

export interface RestingRange extends SlotRange {
  /** Milliseconds, on the clock of `now`. */
  readonly until: number;
}

export interface ReconciledMaps {
  readonly repairs: readonly Repair[];
  /** Ranges that rest from now on; to be handed to the next call. */
  readonly resting: readonly RestingRange[];
  /** Indices of the slots that are another node's by now while their ports are still this one's. */
  readonly lent: ReadonlySet<number>;
}

/** Reconciles once. `now` is in milliseconds of any clock that does not go back; `returning` says that this node was away. */
export function reconcileMaps(
  maps: KernelMaps,
  codecs: Codecs,
  config: NodeConfig["spec"],
  node: string,
  before: readonly RestingRange[],
  now: number,
  returning = false,
): ReconciledMaps {
  const nodes = readNodes(maps);
  const addresses = readAddresses(maps, codecs);
  const stillResting = before.filter((range) => range.until > now);
  const tables = computeTables(config, node, { nodes, addresses }, stillResting, returning);
  const freed = freedRanges(addresses, tables).map((range) => ({ ...range, until: now + REST_MS }));
  const resting = [...stillResting, ...freed];
  const repairs = programMaps(maps, codecs, tables, {
    nodes: nodes.keys(),
    gateways: [...addresses.values()].map((entry) => entry.gateway).filter((index) => index !== NO_GATEWAY),
    slots: resting.reduce((end, range) => Math.max(end, range.first + range.count), 0),
  });
  const configured = programConfig(maps, codecs, tables, config.vxlan.port, true);
  return { repairs: [...repairs, ...configured], resting, lent: lentSlots(tables.slots) };
}

/** Where SELF is the holder and not the owner. */
function lentSlots(rows: Uint32Array): ReadonlySet<number> {
  const lent = new Set<number>();
  for (let at = 0; at < rows.length; at += SLOT_WORDS) {
    const [owner, holder] = [rows[at]! & 0xffff, rows[at + 1]! >>> 16];
    if (holder === SELF && owner !== SELF) lent.add(at / SLOT_WORDS);
  }
  return lent;
}

/** Slot ranges that the kernel knows of and the tables do not. */
function freedRanges(current: ReadonlyMap<number, AddressEntry>, tables: Tables): SlotRange[] {
  return [...current]
    .filter(([key, entry]) => tables.addresses.get(key)?.firstSlot !== entry.firstSlot)
    .map(([, entry]) => ({ first: entry.firstSlot, count: entry.slotCount }));
}
