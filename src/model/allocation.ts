/**
 * How a gateway gives its public addresses and ports to its endpoints. Pure; `bpf/slots.h` computes the same.
 *
 * - `Hashed`: an endpoint shares its slot with all whose hash leads there. With the spread `Endpoint` all its flows have one slot; with `Flow`
 *   they have one public address (paired pooling, RFC 4787 REQ-2) and, by source port, any slot of it, so that one endpoint can use the whole shard.
 * - `Deterministic` (RFC 7422): each endpoint has a block of ports for itself, which follows from its position in the gateway's sources. So
 *   an address and port names its endpoint without any log.
 */
import { z } from "zod";
import { integerField } from "./fields.ts";
import { type Cidr, cidr, cidrSize } from "./ipv4.ts";
import {
  endpointAt,
  endpointHash,
  endpointIndex,
  FIRST_PORT,
  inboundSlot,
  mix32,
  outboundSlot,
  PORTS_PER_ADDRESS,
  type PortRange,
  slotPorts,
  slotsPerAddress,
} from "./slots.ts";

const SPREADS = ["Endpoint", "Flow"] as const;

export const MIN_PORTS_PER_ENDPOINT = 16;

const hashedSchema = z.strictObject({
  method: z.literal("Hashed"),
  /** Which flows share a slot: all of an endpoint, or those of one of its ports. */
  spread: z.enum(SPREADS).default("Endpoint"),
});

const deterministicSchema = z.strictObject({
  method: z.literal("Deterministic"),
  /** Size of an endpoint's block; it divides the size of a slot. */
  portsPerEndpoint: integerField(MIN_PORTS_PER_ENDPOINT, PORTS_PER_ADDRESS),
});

export const allocationSchema = z.discriminatedUnion(
  "method",
  [hashedSchema, deterministicSchema],
  "must be Hashed or Deterministic; choose one of the two",
);

export type Allocation = z.output<typeof allocationSchema>;
export type Deterministic = z.output<typeof deterministicSchema>;

/** How a gateway of which nothing is said allocates. */
export const DEFAULT_ALLOCATION: Allocation = { method: "Hashed", spread: "Endpoint" };

/** All that the choice of an endpoint's ports depends on, as numbers. */
export interface Pool {
  /** At least one, in the order of the placement. */
  readonly addresses: readonly number[];
  readonly portsPerSlot: number;
  readonly allocation: Allocation;
  /** In the order in which they are declared. */
  readonly sources: readonly Cidr[];
}

/** Ports of a slot that an endpoint's flows may have. */
export interface EndpointPorts {
  /** Index into the gateway's addresses. */
  readonly addressIndex: number;
  readonly slot: number;
  readonly ports: PortRange;
}

/**
 * Outbound: the public address and ports of the flows of an endpoint (its `port` counts only where flows are spread). Undefined when the endpoint
 * has no block: there are fewer addresses than were asked for.
 */
export function outboundPorts(
  pool: Pool,
  network: number,
  endpoint: { readonly address: number; readonly port: number },
): EndpointPorts | undefined {
  const { addresses, portsPerSlot, allocation } = pool;
  if (allocation.method === "Deterministic") {
    const index = endpointIndex(pool.sources, endpoint.address);
    const block = index === undefined ? undefined : placeOfBlock(portsPerSlot, allocation, index);
    return block && block.addressIndex < addresses.length ? block : undefined;
  }
  const { addressIndex, slot } = outboundSlot(network, endpoint.address, addresses, portsPerSlot);
  const chosen =
    allocation.spread === "Endpoint"
      ? slot
      : mix32(endpointHash(network, endpoint.address) ^ endpoint.port) % slotsPerAddress(portsPerSlot);
  return { addressIndex, slot: chosen, ports: slotPorts(chosen, portsPerSlot) };
}

/** How many endpoints' blocks an address has. */
function blocksPerAddress(portsPerSlot: number, { portsPerEndpoint }: Deterministic): number {
  return slotsPerAddress(portsPerSlot) * Math.floor(portsPerSlot / portsPerEndpoint);
}

/**
 * Where the block of the endpoint at an index of the sources lies. The first address is filled before the second, so that another address moves nobody; within
 * an address, the blocks go round all slots, so that few endpoints have many owners.
 */
function placeOfBlock(portsPerSlot: number, allocation: Deterministic, index: number): EndpointPorts {
  const blocks = blocksPerAddress(portsPerSlot, allocation);
  const slots = slotsPerAddress(portsPerSlot);
  const addressIndex = Math.floor(index / blocks);
  const number = index % blocks;
  const slot = number % slots;
  const first = FIRST_PORT + slot * portsPerSlot + Math.floor(number / slots) * allocation.portsPerEndpoint;
  return { addressIndex, slot, ports: { first, last: first + allocation.portsPerEndpoint - 1 } };
}

/** The ports of an endpoint's block, in whichever address it lies; undefined when it is in none of the sources. */
export function portsOfBlock(
  portsPerSlot: number,
  allocation: Deterministic,
  sources: readonly Cidr[],
  endpoint: number,
): PortRange | undefined {
  const index = endpointIndex(sources, endpoint);
  return index === undefined ? undefined : placeOfBlock(portsPerSlot, allocation, index).ports;
}

/** Inverse of a deterministic allocation: whose block a port of an address lies in; undefined when it is nobody's. */
export function endpointOfPort(
  { portsPerSlot, sources }: Pick<Pool, "portsPerSlot" | "sources">,
  allocation: Deterministic,
  addressIndex: number,
  port: number,
): number | undefined {
  const slot = inboundSlot(port, portsPerSlot);
  if (slot === undefined) return undefined;
  const position = Math.floor((port - slotPorts(slot, portsPerSlot).first) / allocation.portsPerEndpoint);
  const number = position * slotsPerAddress(portsPerSlot) + slot;
  return endpointAt(sources, addressIndex * blocksPerAddress(portsPerSlot, allocation) + number);
}

interface Declared {
  readonly sources: readonly string[];
  readonly addresses: { readonly count: number };
  readonly ports: { readonly perSlot: number };
  readonly allocation: Allocation;
}

/** Why a declared allocation cannot be had, as the text of a fault of `allocation.portsPerEndpoint`; undefined when it can. */
export function allocationFault({ sources, addresses, ports, allocation }: Declared): string | undefined {
  if (allocation.method === "Hashed") return undefined;
  const { portsPerEndpoint } = allocation;
  if (ports.perSlot % portsPerEndpoint !== 0) {
    return `does not divide a slot of ${ports.perSlot} ports; choose a divisor of ports.perSlot, such as ${nearestDivisor(ports.perSlot, portsPerEndpoint)}`;
  }
  const endpoints = sources.reduce((sum, source) => sum + cidrSize(cidr(source)), 0);
  const blocks = blocksPerAddress(ports.perSlot, allocation);
  if (endpoints <= addresses.count * blocks) return undefined;
  const needed = Math.ceil(endpoints / blocks);
  return `ports for each of ${endpoints} addresses in spec.sources do not fit: ${addresses.count} public addresses have room for ${addresses.count * blocks}; set addresses.count to ${needed}, choose smaller blocks, or narrow the sources`;
}

/** The largest divisor of a slot's size that is no more than asked for, or the least that may be chosen. */
function nearestDivisor(perSlot: number, wanted: number): number {
  const sizes = Array.from({ length: perSlot + 1 }, (_, size) => size).filter(
    (size) => size >= MIN_PORTS_PER_ENDPOINT && perSlot % size === 0,
  );
  return sizes.findLast((size) => size <= wanted) ?? sizes[0]!;
}
