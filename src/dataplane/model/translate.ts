/** Rewriting and forwarding (steps 15 and 16 of docs/dataplane.md). */
import { ETHERNET_BYTES, type Ipv4View, PROTOCOL, updateChecksum, words, writeMac } from "../packet.ts";
import type { Quoted } from "./classify.ts";
import type { AddressPort, Direction, DropCounter } from "./state.ts";

/** What the node's routing table says about a destination. */
export type Route =
  | {
      readonly kind: "found";
      readonly ifindex: number;
      readonly sourceMac: string;
      readonly destinationMac: string;
      /** Largest IP packet in bytes. */
      readonly mtu: number;
    }
  /** The neighbour's MAC address is not known yet. */
  | { readonly kind: "no-neighbour"; readonly mtu: number }
  /** The destination is the node itself. */
  | { readonly kind: "local" }
  /** None, or a prohibiting one. */
  | { readonly kind: "none" };

export type RouteLookup = (destination: number) => Route;

export type Forwarded =
  | { readonly kind: "redirect"; readonly ifindex: number; readonly packet: Buffer }
  | { readonly kind: "kernel"; readonly packet: Buffer }
  | { readonly kind: "drop"; readonly drop: DropCounter }
  /** Larger than the `mtu` of the route. */
  | { readonly kind: "too-big"; readonly mtu: number };

/** Step 15: gives the endpoint's side of a packet another address and port. `frame` stays as it is. */
export function translate(frame: Buffer, ip: Ipv4View, direction: Direction, to: AddressPort): Buffer {
  const out = Buffer.from(frame);
  const outbound = direction === "outbound";
  const addressAt = ETHERNET_BYTES + (outbound ? 12 : 16);
  const portAt = ip.payloadAt + portOffset(ip.protocol, outbound);
  const fromAddress = words(frame.readUInt32BE(addressAt));
  const fromPort = frame.readUInt16BE(portAt);

  out.writeUInt32BE(to.address, addressAt);
  out.writeUInt16BE(to.port, portAt);
  updateAt(out, ETHERNET_BYTES + 10, fromAddress, words(to.address));
  switch (ip.protocol) {
    case PROTOCOL.tcp:
      updateAt(out, ip.payloadAt + 16, [...fromAddress, fromPort], [...words(to.address), to.port]);
      break;
    case PROTOCOL.udp:
      if (frame.readUInt16BE(ip.payloadAt + 6) === 0) break;
      updateAt(out, ip.payloadAt + 6, [...fromAddress, fromPort], [...words(to.address), to.port]);
      avoidZero(out, ip.payloadAt + 6);
      break;
    case PROTOCOL.icmp:
      updateAt(out, ip.payloadAt + 2, [fromPort], [to.port]);
      avoidZero(out, ip.payloadAt + 2);
      break;
  }
  return out;
}

/**
 * Step 15 for what has no ports: the address alone. The checksum that covers it is in the first fragment only; that of ICMP covers none. `frame`
 * stays as it is.
 */
export function translateAddress(frame: Buffer, direction: Direction, to: number): Buffer {
  const out = Buffer.from(frame);
  const at = ETHERNET_BYTES + (direction === "outbound" ? 12 : 16);
  out.writeUInt32BE(to, at);
  updateAt(out, ETHERNET_BYTES + 10, words(frame.readUInt32BE(at)), words(to));
  return out;
}

/**
 * Step 15 for an ICMP error (RFC 5508): the error's own address on the endpoint's side, and in the quoted packet the address and port
 * of the other end there, which is the same endpoint: what it sent comes back quoted. `frame` stays as it is.
 */
export function translateError(
  frame: Buffer,
  ip: Ipv4View,
  quoted: Quoted,
  direction: Direction,
  to: AddressPort,
): Buffer {
  const out = Buffer.from(frame);
  const outbound = direction === "outbound";
  const outerAt = ETHERNET_BYTES + (outbound ? 12 : 16);
  const fromOuter = words(frame.readUInt32BE(outerAt));
  out.writeUInt32BE(to.address, outerAt);
  updateAt(out, ETHERNET_BYTES + 10, fromOuter, words(to.address));

  const quotedAt = quoted.ipAt + (outbound ? 16 : 12);
  const from = words(frame.readUInt32BE(quotedAt));
  const portAt = quoted.transportAt + portOffset(quoted.protocol, !outbound);
  const fromPort = frame.readUInt16BE(portAt);
  out.writeUInt32BE(to.address, quotedAt);
  updateAt(out, quoted.ipAt + 10, from, words(to.address));
  out.writeUInt16BE(to.port, portAt);
  const checkAt = quotedChecksumAt(frame, quoted);
  if (checkAt !== undefined) {
    const addresses = quoted.protocol === PROTOCOL.icmp ? [[], []] : [from, words(to.address)];
    updateAt(out, checkAt, [...addresses[0]!, fromPort], [...addresses[1]!, to.port]);
    if (quoted.protocol !== PROTOCOL.tcp) avoidZero(out, checkAt);
  }

  const changed = [
    quotedAt,
    quotedAt + 2,
    quoted.ipAt + 10,
    portAt,
    ...(checkAt === undefined ? [] : [checkAt]),
  ];
  const sumAt = ip.payloadAt + 2;
  updateAt(
    out,
    sumAt,
    changed.map((at) => frame.readUInt16BE(at)),
    changed.map((at) => out.readUInt16BE(at)),
  );
  avoidZero(out, sumAt);
  return out;
}

/** Where the quoted packet's transport checksum lies; undefined when it has none, or was cut off before it. */
function quotedChecksumAt(
  frame: Buffer,
  { protocol, transportAt, transportBytes }: Quoted,
): number | undefined {
  switch (protocol) {
    case PROTOCOL.icmp:
      return transportAt + 2;
    case PROTOCOL.udp:
      return frame.readUInt16BE(transportAt + 6) === 0 ? undefined : transportAt + 6;
    default:
      return transportBytes >= 18 ? transportAt + 16 : undefined;
  }
}

/** Offset in the transport header of the endpoint's port; ICMP echo has the identifier in its place. */
function portOffset(protocol: number, outbound: boolean): number {
  if (protocol === PROTOCOL.icmp) return 4;
  return outbound ? 0 : 2;
}

/** Of the two zeros of one's complement, the one that is not "no checksum" (RFC 768). */
function avoidZero(frame: Buffer, at: number): void {
  if (frame.readUInt16BE(at) === 0) frame.writeUInt16BE(0xffff, at);
}

function updateAt(frame: Buffer, at: number, from: readonly number[], to: readonly number[]): void {
  frame.writeUInt16BE(updateChecksum(frame.readUInt16BE(at), from, to), at);
}

/** Step 16: sends a packet of `ipBytes` where the routing table says. `frame` stays as it is. */
export function forward(frame: Buffer, ipBytes: number, route: Route): Forwarded {
  if (route.kind === "none") return { kind: "drop", drop: "drop_no_route" };
  if (route.kind === "local") return { kind: "kernel", packet: frame };
  if (ipBytes > route.mtu) return { kind: "too-big", mtu: route.mtu };
  if (route.kind === "no-neighbour") return { kind: "kernel", packet: frame };
  const packet = Buffer.from(frame);
  decrementTtl(packet);
  writeMac(packet, 0, route.destinationMac);
  writeMac(packet, 6, route.sourceMac);
  return { kind: "redirect", ifindex: route.ifindex, packet };
}

function decrementTtl(frame: Buffer): void {
  const at = ETHERNET_BYTES + 8;
  const before = frame.readUInt16BE(at);
  frame.writeUInt8(frame.readUInt8(at) - 1, at);
  updateAt(frame, ETHERNET_BYTES + 10, [before], [frame.readUInt16BE(at)]);
}
