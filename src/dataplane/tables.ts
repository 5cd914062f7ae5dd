/**
 * From a node's configuration to the tables of its dataplane. Pure. Sessions in the kernel refer to slots and gateways by index, so
 * an index that is in use keeps its meaning: what the kernel holds now is an input.
 */

import type { Allocation } from "../model/allocation.ts";
import { address, cidr, cidrSize } from "../model/ipv4.ts";
import type { NatBehaviour } from "../model/nat-behaviour.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import { NOBODY, type PlacedAddress } from "../model/placement.ts";
import type { SessionLogging } from "../model/session-logging.ts";
import { type SlotRoles, slotRoles } from "../model/slot-roles.ts";
import { FABRIC_NETWORK, slotsPerAddress } from "../model/slots.ts";
import { forwardedPorts, staticAddresses } from "../model/static-mappings.ts";
import { NO_GATEWAY, NOBODY_INDEX, SELF } from "./layouts.ts";

/** All addresses are numbers in host order. */
export interface AddressEntry {
  /** NO_GATEWAY, with no slots, for an address that has static mappings alone. */
  readonly gateway: number;
  readonly firstSlot: number;
  readonly slotCount: number;
  readonly portsPerSlot: number;
  /** Some of its ports may be forwards'. */
  readonly hasForwards: boolean;
}

export interface GatewayEntry {
  readonly portsPerSlot: number;
  readonly allocation: Allocation;
  readonly log: SessionLogging;
  readonly behaviour: NatBehaviour;
  readonly addresses: readonly number[];
}

export interface SourceEntry {
  readonly network: number;
  readonly first: number;
  readonly bits: number;
  readonly gateway: number;
  /** How many addresses of the gateway's sources come before this block. */
  readonly firstIndex: number;
}

/** One direction of a static mapping. */
export interface StaticEntry {
  readonly direction: "outbound" | "inbound";
  readonly network: number;
  /** Protocol number and port; both 0 for a floating address, which has them all. */
  readonly protocol: number;
  readonly from: { readonly address: number; readonly port: number };
  readonly to: { readonly address: number; readonly port: number };
}

export interface Tables {
  /** Node index → address; index 0 is this node. */
  readonly nodes: ReadonlyMap<number, number>;
  readonly gateways: ReadonlyMap<number, GatewayEntry>;
  readonly addresses: ReadonlyMap<number, AddressEntry>;
  /** A row of `SLOT_WORDS` for each slot index up to the highest that is used. */
  readonly slots: Uint32Array;
  readonly sources: readonly SourceEntry[];
  readonly staticMappings: readonly StaticEntry[];
}

/** What the kernel holds now. */
export interface Current {
  readonly nodes: ReadonlyMap<number, number>;
  readonly addresses: ReadonlyMap<number, AddressEntry>;
}

/** A range of slot indices that must not be used yet: sessions may still refer to what they meant before. */
export interface SlotRange {
  readonly first: number;
  readonly count: number;
}

const STATIC_ONLY: AddressEntry = {
  gateway: NO_GATEWAY,
  firstSlot: 0,
  slotCount: 0,
  portsPerSlot: 0,
  hasForwards: false,
};

/** A slot as it lies in memory: `owner | backup << 16`, `previous | holder << 16`, the index of the stand-in. */
export const SLOT_WORDS = 3;
export const NO_SLOT = 0xffffffff;

/** Rows of slots that are nobody's: NOBODY in place of every node, and no stand-in. */
export function emptySlots(count: number): Uint32Array {
  return new Uint32Array(SLOT_WORDS * count).fill(NO_SLOT);
}

/**
 * Computes the tables. `resting` are slot ranges that were freed a short while ago; `returning` says that this node was away, so that
 * others may know flows of its slots.
 */
export function computeTables(
  config: NodeConfig["spec"],
  self: string,
  current: Current,
  resting: readonly SlotRange[],
  returning = false,
): Tables {
  const nodeIndex = assignNodes(config, self, current.nodes);
  const gatewayIndex = assignGateways(config, current.addresses);
  const addresses = assignSlots(config, gatewayIndex, current.addresses, resting);
  return {
    nodes: new Map([
      [SELF, address(config.node.address)],
      ...config.peers.map((p): [number, number] => [nodeIndex.get(p.name)!, address(p.address)]),
    ]),
    gateways: new Map(
      config.gateways.map((gateway, i) => [
        gatewayIndex[i]!,
        {
          portsPerSlot: gateway.portsPerSlot,
          allocation: gateway.allocation,
          log: gateway.log,
          behaviour: gateway.behaviour,
          addresses: gateway.addresses.map((a) => address(a.address)),
        },
      ]),
    ),
    addresses,
    slots: fillSlots(config, nodeIndex, addresses, (placed, gateway) =>
      slotRoles(placed, gateway, self, returning),
    ),
    sources: config.gateways.flatMap((gateway, i) => sourceEntries(gateway.sources, gatewayIndex[i]!)),
    staticMappings: staticEntries(config),
  };
}

function sourceEntries(sources: readonly string[], gateway: number): SourceEntry[] {
  let firstIndex = 0;
  return sources.map((text) => {
    const block = cidr(text);
    const entry = { network: FABRIC_NETWORK, ...block, gateway, firstIndex };
    firstIndex += cidrSize(block);
    return entry;
  });
}

const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const;

/** Both directions of every static mapping. */
function staticEntries(config: NodeConfig["spec"]): StaticEntry[] {
  type Pair = Pick<StaticEntry, "protocol" | "from" | "to">;
  const bothWays = ({ protocol, from: outside, to: inside }: Pair): StaticEntry[] => [
    { direction: "inbound", network: 0, protocol, from: outside, to: inside },
    { direction: "outbound", network: FABRIC_NETWORK, protocol, from: inside, to: outside },
  ];
  const floats = (config.floatingAddresses ?? []).map((float) => ({
    protocol: 0,
    from: { address: address(float.address), port: 0 },
    to: { address: address(float.inside), port: 0 },
  }));
  const forwards = (config.portForwards ?? []).flatMap((forward) =>
    forwardedPorts(forward).map(({ publicPort, insidePort }) => ({
      protocol: PROTOCOL_NUMBERS[forward.protocol],
      from: { address: address(forward.address), port: publicPort },
      to: { address: address(forward.inside), port: insidePort },
    })),
  );
  return [...floats, ...forwards].flatMap(bothWays);
}

/** The smallest numbers from `from` on that are not taken, one after the other. */
function* freeNumbers(taken: ReadonlySet<number>, from: number): Generator<number, never> {
  for (let n = from; ; n++) if (!taken.has(n)) yield n;
}

function assignNodes(
  config: NodeConfig["spec"],
  self: string,
  current: ReadonlyMap<number, number>,
): Map<string, number> {
  const byAddress = new Map([...current].filter(([index]) => index !== SELF).map(([index, a]) => [a, index]));
  const assigned = new Map([[self, SELF]]);
  for (const peer of config.peers) {
    const kept = byAddress.get(address(peer.address));
    if (kept !== undefined) assigned.set(peer.name, kept);
  }
  const free = freeNumbers(new Set(assigned.values()), SELF + 1);
  for (const peer of config.peers) if (!assigned.has(peer.name)) assigned.set(peer.name, free.next().value);
  return assigned;
}

/** A gateway is known again by its public addresses. */
function assignGateways(config: NodeConfig["spec"], current: ReadonlyMap<number, AddressEntry>): number[] {
  const taken = new Set<number>();
  const kept = config.gateways.map((gateway) => {
    const index = gateway.addresses
      .map((a) => current.get(address(a.address))?.gateway)
      .find((i) => i !== undefined && i !== NO_GATEWAY);
    if (index === undefined || taken.has(index)) return undefined;
    taken.add(index);
    return index;
  });
  const free = freeNumbers(taken, 0);
  return kept.map((index) => index ?? free.next().value);
}

function assignSlots(
  config: NodeConfig["spec"],
  gatewayIndex: readonly number[],
  current: ReadonlyMap<number, AddressEntry>,
  resting: readonly SlotRange[],
): Map<number, AddressEntry> {
  const result = new Map<number, AddressEntry>();
  const used: SlotRange[] = [...resting];
  const unplaced: { readonly key: number; readonly entry: Omit<AddressEntry, "firstSlot"> }[] = [];
  const withForwards = new Set((config.portForwards ?? []).map((forward) => address(forward.address)));
  config.gateways.forEach((gateway, i) => {
    const slotCount = slotsPerAddress(gateway.portsPerSlot);
    for (const placed of gateway.addresses) {
      const key = address(placed.address);
      const hasForwards = withForwards.has(key);
      const { portsPerSlot } = gateway;
      const entry = { gateway: gatewayIndex[i]!, slotCount, portsPerSlot, hasForwards };
      const before = current.get(key);
      if (before?.slotCount === slotCount) {
        result.set(key, { ...entry, firstSlot: before.firstSlot });
        used.push({ first: before.firstSlot, count: slotCount });
      } else {
        unplaced.push({ key, entry });
      }
    }
  });
  // A current address that goes or changes keeps its range for now: the caller lets it rest.
  for (const [key, entry] of current)
    if (!result.has(key)) used.push({ first: entry.firstSlot, count: entry.slotCount });
  const place = firstFit(used);
  for (const { key, entry } of unplaced) result.set(key, { ...entry, firstSlot: place(entry.slotCount) });
  for (const key of staticAddresses(config)) if (!result.has(key)) result.set(key, STATIC_ONLY);
  return result;
}

/** Returns a function that takes the lowest gap of a size among the used ranges. */
function firstFit(used: readonly SlotRange[]): (count: number) => number {
  const gaps: SlotRange[] = [];
  let end = 0;
  for (const range of [...used].sort((a, b) => a.first - b.first)) {
    if (range.first > end) gaps.push({ first: end, count: range.first - end });
    end = Math.max(end, range.first + range.count);
  }
  gaps.push({ first: end, count: Number.POSITIVE_INFINITY });
  return (count) => {
    const index = gaps.findIndex((gap) => gap.count >= count);
    const gap = gaps[index]!;
    if (gap.count === count) gaps.splice(index, 1);
    else gaps[index] = { first: gap.first + count, count: gap.count - count };
    return gap.first;
  };
}

function fillSlots(
  config: NodeConfig["spec"],
  nodeIndex: ReadonlyMap<string, number>,
  addresses: ReadonlyMap<number, AddressEntry>,
  rolesOf: (placed: PlacedAddress, gateway: GatewayConfig) => readonly SlotRoles[],
): Uint32Array {
  let end = 0;
  for (const entry of addresses.values()) end = Math.max(end, entry.firstSlot + entry.slotCount);
  const slots = emptySlots(end);
  for (const gateway of config.gateways) {
    const indices = gateway.nodes.map((name) => nodeIndex.get(name) ?? NOBODY_INDEX);
    const indexOf = (n: number): number => (n === NOBODY ? NOBODY_INDEX : (indices[n] ?? NOBODY_INDEX));
    for (const placed of gateway.addresses) {
      const { firstSlot } = addresses.get(address(placed.address))!;
      for (const [i, roles] of rolesOf(placed, gateway).entries()) {
        const { owner, backup, previous, holder, standIn } = roles;
        const row = SLOT_WORDS * (firstSlot + i);
        slots[row] = indexOf(owner) | (indexOf(backup) << 16);
        slots[row + 1] = indexOf(previous) | (indexOf(holder) << 16);
        slots[row + 2] = standIn === NOBODY ? NO_SLOT : firstSlot + standIn;
      }
    }
  }
  return slots;
}
