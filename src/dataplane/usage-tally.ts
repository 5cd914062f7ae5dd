/** Counts the ports in use from the records of a dataplane. Pure but for the counting. */
import { portsOfBlock } from "../model/allocation.ts";
import { address, cidr, formatAddress } from "../model/ipv4.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import { inboundSlot, LAST_PORT, slotPorts } from "../model/slots.ts";
import type { GatewayUsage } from "../model/usage.ts";
import type { Session } from "./dataplane.ts";

/** A record: a session, or what stands for a port that several sessions may share. Addresses as numbers. */
export interface UsageRecord {
  readonly isSession: boolean;
  /** It holds its public port by itself, and not by another record. */
  readonly holdsPort: boolean;
  readonly protocol: Session["protocol"];
  readonly inside: number;
  readonly publicAddress: number;
  readonly publicPort: number;
  /** Both 0 for a port that is in use whatever the remote. */
  readonly remote: number;
  readonly remotePort: number;
}

export type CountedUsage = Omit<GatewayUsage, "peakPercent" | "refused" | "refusing">;

export interface UsageTally {
  add(record: UsageRecord): void;
  /** One entry for each gateway of which this node has slots or sessions. */
  result(): CountedUsage[];
}

/** So many pairs of a range and a remote are told apart at most; further ones are left out, so that the memory is bounded. */
const MAX_PAIRS = 500_000;
const TOP_ENDPOINTS = 3;
/** Remote address and port as one exact number. */
const REMOTE_PORTS = 65_536;

interface Range {
  readonly ports: string;
  readonly protocol: Session["protocol"];
  readonly of: number;
  /** Remote → ports in use toward it. */
  readonly toward: Map<number, number>;
}

interface AddressTally {
  readonly text: string;
  readonly total: number;
  /** A bit for each port. */
  readonly used: Readonly<Record<Session["protocol"], Uint8Array>>;
}

interface GatewayTally {
  readonly gateway: GatewayConfig;
  readonly addresses: Map<number, AddressTally>;
  readonly endpoints: Map<number, number>;
  readonly ranges: Map<string, Range>;
  sessions: number;
}

/** Starts to count for a node, by the configuration that it runs. */
export function makeUsageTally({ gateways }: NodeConfig["spec"], node: string): UsageTally {
  const tallies = gateways.map((gateway) => tallyOf(gateway, node));
  const byAddress = new Map(tallies.flatMap((tally) => [...tally.addresses.keys()].map((a) => [a, tally])));
  let pairs = 0;
  return {
    add(record) {
      const tally = byAddress.get(record.publicAddress);
      const at = tally?.addresses.get(record.publicAddress);
      if (!tally || !at) return;
      if (record.isSession) {
        tally.sessions++;
        tally.endpoints.set(record.inside, (tally.endpoints.get(record.inside) ?? 0) + 1);
      }
      if (!record.holdsPort) return;
      const bits = at.used[record.protocol];
      bits[record.publicPort >> 3]! |= 1 << (record.publicPort & 7);
      const range = rangeOf(tally, record);
      const remote = record.remote * REMOTE_PORTS + record.remotePort;
      const before = range?.toward.get(remote) ?? 0;
      if (!range || (before === 0 && pairs >= MAX_PAIRS)) return;
      if (before === 0) pairs++;
      range.toward.set(remote, before + 1);
    },
    result: () =>
      tallies
        .filter((tally) => tally.sessions > 0 || [...tally.addresses.values()].some((a) => a.total > 0))
        .map(summary),
  };
}

function tallyOf(gateway: GatewayConfig, node: string): GatewayTally {
  const self = gateway.nodes.indexOf(node);
  const addresses = gateway.addresses.map((placed) => {
    const own = placed.owners.filter((owner) => owner === self && self >= 0).length;
    const used = { tcp: portBits(), udp: portBits(), icmp: portBits() };
    return [
      address(placed.address),
      { text: placed.address, total: own * gateway.portsPerSlot, used },
    ] as const;
  });
  return { gateway, addresses: new Map(addresses), endpoints: new Map(), ranges: new Map(), sessions: 0 };
}

function portBits(): Uint8Array {
  return new Uint8Array((LAST_PORT + 1) / 8);
}

/** The range in which the record's port had to be found: its slot, or its endpoint's block. */
function rangeOf({ gateway, ranges }: GatewayTally, record: UsageRecord): Range | undefined {
  const { protocol, publicAddress, publicPort } = record;
  const { portsPerSlot, allocation } = gateway;
  const slot = inboundSlot(publicPort, portsPerSlot);
  if (slot === undefined) return undefined;
  const isBlock = allocation.method === "Deterministic";
  const key = `${protocol} ${isBlock ? record.inside : `${publicAddress}/${slot}`}`;
  const known = ranges.get(key);
  if (known) return known;
  const sources = isBlock ? gateway.sources.map(cidr) : [];
  const block = isBlock ? portsOfBlock(portsPerSlot, allocation, sources, record.inside) : undefined;
  const { first, last } = block ?? slotPorts(slot, portsPerSlot);
  const ports = `${formatAddress(publicAddress)}:${first}-${last}`;
  const range = { ports, protocol, of: last - first + 1, toward: new Map<number, number>() };
  ranges.set(key, range);
  return range;
}

function summary({ gateway, sessions, addresses, endpoints, ranges }: GatewayTally): CountedUsage {
  const fullest = fullestOf([...ranges.values()]);
  return {
    gateway: `${gateway.namespace}/${gateway.name}`,
    sessions,
    addresses: [...addresses.values()].map(({ text, total, used }) => ({
      address: text,
      total,
      tcp: countBits(used.tcp),
      udp: countBits(used.udp),
      icmp: countBits(used.icmp),
    })),
    ...(fullest ? { fullest } : {}),
    endpoints: [...endpoints]
      .sort((a, b) => b[1] - a[1] || a[0] - b[0])
      .slice(0, TOP_ENDPOINTS)
      .map(([endpoint, count]) => ({ address: formatAddress(endpoint), sessions: count })),
  };
}

function fullestOf(ranges: readonly Range[]): GatewayUsage["fullest"] {
  let found: GatewayUsage["fullest"];
  for (const { ports, protocol, of, toward } of ranges) {
    for (const [remote, used] of toward) {
      if (found && used * found.of <= found.used * of) continue;
      const [at, port] = [Math.floor(remote / REMOTE_PORTS), remote % REMOTE_PORTS];
      found = { ports, protocol, ...(remote ? { remote: `${formatAddress(at)}:${port}` } : {}), used, of };
    }
  }
  return found;
}

function countBits(bits: Uint8Array): number {
  let count = 0;
  for (let byte of bits) {
    for (; byte; byte &= byte - 1) count++;
  }
  return count;
}
