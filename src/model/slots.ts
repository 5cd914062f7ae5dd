/**
 * The slot functions: the whole of Natto's routing, known alike to every node, every tool and the dataplane
 * (`bpf/slots.h` computes the same in C; `slots.test.ts` and the dataplane's tests hold the two together).
 *
 * A public address has 64,512 usable ports (1024–65535), cut into equal contiguous ranges: slots. A slot is the unit
 * of ownership, of blast radius and of movement.
 */
import { address, type Cidr, cidrContains, cidrSize } from "./ipv4.ts";

export const FIRST_PORT = 1024;
export const LAST_PORT = 65535;
export const PORTS_PER_ADDRESS = LAST_PORT - FIRST_PORT + 1;

/** The network of an endpoint that belongs to no VPC. Others are VXLAN network identifiers (24 bits, RFC 7348). */
export const FABRIC_NETWORK = 0;

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Whether the address's ports can be cut into ranges of this size with nothing left over. */
export function isSlotSize(portsPerSlot: number): boolean {
  return portsPerSlot >= 64 && PORTS_PER_ADDRESS % portsPerSlot === 0;
}

/** How many slots an address has. */
export function slotsPerAddress(portsPerSlot: number): number {
  return PORTS_PER_ADDRESS / portsPerSlot;
}

/** The ports of a slot of an address. */
export function slotPorts(slot: number, portsPerSlot: number): PortRange {
  const first = FIRST_PORT + slot * portsPerSlot;
  return { first, last: first + portsPerSlot - 1 };
}

/** Inbound: which slot of its address a destination port belongs to; undefined for the ports below 1024. */
export function inboundSlot(port: number, portsPerSlot: number): number | undefined {
  if (port < FIRST_PORT || port > LAST_PORT) return undefined;
  return Math.floor((port - FIRST_PORT) / portsPerSlot);
}

/** The finaliser of MurmurHash3 (public domain, Austin Appleby): mixes all bits of a 32-bit word into all others. */
export function mix32(word: number): number {
  let h = word >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The endpoint's hash: of its network and its address. */
export function endpointHash(network: number, source: number): number {
  return mix32(mix32(network) ^ source);
}

/** Where the flows of an endpoint go: which public address of its gateway, and which slot of that address. */
export interface OutboundSlot {
  /** Index into the gateway's addresses. */
  readonly addressIndex: number;
  readonly slot: number;
}

/**
 * Outbound: (network, source address) → public address and slot. All flows of an endpoint share them (paired pooling,
 * RFC 4787 REQ-2). The address is chosen by rendezvous hashing, so that adding one to A addresses moves 1/(A + 1) of the
 * endpoints and removing one moves only its own; the order of `addresses` does not matter.
 *
 * `addresses` are the gateway's public addresses as numbers; at least one.
 */
export function outboundSlot(
  network: number,
  source: number,
  addresses: readonly number[],
  portsPerSlot: number,
): OutboundSlot {
  const hash = endpointHash(network, source);
  let addressIndex = 0;
  let best = -1;
  for (let i = 0; i < addresses.length; i++) {
    const score = mix32(hash ^ addresses[i]!);
    if (score > best || (score === best && addresses[i]! < addresses[addressIndex]!)) {
      best = score;
      addressIndex = i;
    }
  }
  return { addressIndex, slot: hash % slotsPerAddress(portsPerSlot) };
}

/** The same for addresses in text form. */
export function outboundSlotOf(
  source: string,
  addresses: readonly string[],
  portsPerSlot: number,
): OutboundSlot {
  return outboundSlot(FABRIC_NETWORK, address(source), addresses.map(address), portsPerSlot);
}

/**
 * The position of an endpoint among all addresses of its gateway's sources, in the order in which these are written;
 * undefined when it is in none of them. Inverse of `endpointAt`.
 */
export function endpointIndex(sources: readonly Cidr[], endpoint: number): number | undefined {
  let before = 0;
  for (const block of sources) {
    if (cidrContains(block, endpoint)) return before + (endpoint - block.first);
    before += cidrSize(block);
  }
  return undefined;
}

/** The endpoint at a position among all addresses of the sources; undefined when there are fewer. Inverse of `endpointIndex`. */
export function endpointAt(sources: readonly Cidr[], index: number): number | undefined {
  let before = 0;
  for (const block of sources) {
    if (index >= before && index < before + cidrSize(block)) return block.first + (index - before);
    before += cidrSize(block);
  }
  return undefined;
}
