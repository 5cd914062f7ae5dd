/**
 * IPv4 addresses and CIDR blocks as numbers: an address is an unsigned 32-bit integer in host order.
 */
import ipaddr from "ipaddr.js";

/** A block of addresses: `first` has no host bits set, `bits` is the prefix length (0–32). */
export interface Cidr {
  readonly first: number;
  readonly bits: number;
}

/** Parses dotted-quad notation with four decimal parts; returns undefined for anything else. */
export function parseAddress(text: string): number | undefined {
  if (!ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  const [a, b, c, d] = ipaddr.IPv4.parse(text).octets as [number, number, number, number];
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

/** Formats an address in dotted-quad notation. */
export function formatAddress(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** The netmask of a prefix length as a number. */
export function netmask(bits: number): number {
  return bits === 0 ? 0 : (~0 << (32 - bits)) >>> 0;
}

export type CidrParse =
  | { readonly ok: true; readonly cidr: Cidr }
  | { readonly ok: false; readonly problem: "syntax" }
  | { readonly ok: false; readonly problem: "host-bits"; readonly suggestion: string };

/** Parses `a.b.c.d/len` and says whether it is malformed or has host bits set (with the block that was probably meant). */
export function parseCidr(text: string): CidrParse {
  const match = /^([0-9.]+)\/(\d{1,2})$/.exec(text);
  const address = match ? parseAddress(match[1]!) : undefined;
  const bits = match ? Number(match[2]) : 33;
  if (address === undefined || bits > 32) return { ok: false, problem: "syntax" };
  const first = (address & netmask(bits)) >>> 0;
  if (first !== address) {
    return { ok: false, problem: "host-bits", suggestion: `${formatAddress(first)}/${bits}` };
  }
  return { ok: true, cidr: { first, bits } };
}

/** Parses a block that was validated before; throws on anything else. */
export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new RangeError(`not a CIDR block: ${text}`);
  return parsed.cidr;
}

/** Parses an address that was validated before; throws on anything else. */
export function address(text: string): number {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new RangeError(`not an IPv4 address: ${text}`);
  return parsed;
}

export function formatCidr(block: Cidr): string {
  return `${formatAddress(block.first)}/${block.bits}`;
}

/** Number of addresses in the block. */
export function cidrSize(block: Cidr): number {
  return 2 ** (32 - block.bits);
}

export function cidrContains(block: Cidr, candidate: number): boolean {
  return (candidate & netmask(block.bits)) >>> 0 === block.first;
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.bits <= b.bits ? cidrContains(a, b.first) : cidrContains(b, a.first);
}
