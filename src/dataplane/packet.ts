/**
 * A codec for the packets that Natto handles: IPv4 (RFC 791) over Ethernet, TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792),
 * VXLAN (RFC 7348). The reference model and the tests use it; the dataplane itself is in C.
 *
 * Addresses are unsigned 32-bit numbers in host order, MAC addresses text such as `02:00:00:00:00:01`.
 */
export const ETHERNET_BYTES = 14;
export const VXLAN_BYTES = 8;
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17 } as const;
export const TCP_FLAG = { fin: 0x01, syn: 0x02, rst: 0x04, psh: 0x08, ack: 0x10 } as const;
/** Destination unreachable, time exceeded, parameter problem (RFC 792): the errors that a NAT translates (RFC 5508). */
export const ICMP_ERRORS: readonly number[] = [3, 11, 12];
export const ECHO_REQUEST = 8;
export const ECHO_REPLY = 0;

const ETHERTYPE_IPV4 = 0x0800;
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;

/** Where the parts of an IPv4 packet lie in its frame, and the fields that decide what happens to it. */
export interface Ipv4View {
  readonly headerBytes: number;
  /** Header and payload, by the packet's own word. */
  readonly totalBytes: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  /** It is a part of a larger packet: "more fragments" or an offset is set. */
  readonly fragment: boolean;
  /** It is a fragment, and not the first. */
  readonly laterFragment: boolean;
  /** The larger packet's name among those of its sender, receiver and protocol. */
  readonly identification: number;
  /** In units of 8 bytes. */
  readonly fragmentOffset: number;
  readonly moreFragments: boolean;
  /** Offset of the IP payload in the frame. */
  readonly payloadAt: number;
  readonly payloadBytes: number;
}

export type Ipv4Parse =
  | { readonly ok: true; readonly ip: Ipv4View }
  | { readonly ok: false; readonly reason: "not-ipv4" | "malformed" };

/** Finds the IPv4 header behind an untagged Ethernet header. The header's checksum is not verified. */
export function parseIpv4(frame: Buffer): Ipv4Parse {
  if (frame.length < ETHERNET_BYTES || frame.readUInt16BE(12) !== ETHERTYPE_IPV4) {
    return { ok: false, reason: "not-ipv4" };
  }
  const at = ETHERNET_BYTES;
  if (frame.length < at + 20) return { ok: false, reason: "malformed" };
  const version = frame.readUInt8(at) >>> 4;
  const headerBytes = (frame.readUInt8(at) & 15) * 4;
  const totalBytes = frame.readUInt16BE(at + 2);
  const fragmentation = frame.readUInt16BE(at + 6);
  if (version !== 4 || headerBytes < 20 || totalBytes < headerBytes || at + totalBytes > frame.length) {
    return { ok: false, reason: "malformed" };
  }
  const ip = {
    headerBytes,
    totalBytes,
    ttl: frame.readUInt8(at + 8),
    protocol: frame.readUInt8(at + 9),
    source: frame.readUInt32BE(at + 12),
    destination: frame.readUInt32BE(at + 16),
    fragment: (fragmentation & (MORE_FRAGMENTS | 0x1fff)) !== 0,
    laterFragment: (fragmentation & 0x1fff) !== 0,
    identification: frame.readUInt16BE(at + 4),
    fragmentOffset: fragmentation & 0x1fff,
    moreFragments: (fragmentation & MORE_FRAGMENTS) !== 0,
    payloadAt: at + headerBytes,
    payloadBytes: totalBytes - headerBytes,
  };
  return { ok: true, ip };
}

/** The transport header as a structure. `raw` is everything that is not TCP, UDP or ICMP, and every fragment. */
export type Transport =
  | {
      readonly kind: "tcp";
      readonly sourcePort: number;
      readonly destinationPort: number;
      readonly sequence: number;
      readonly acknowledgement: number;
      /** The eight bits from CWR to FIN. */
      readonly flags: number;
      readonly window: number;
      readonly options: Buffer;
      readonly payload: Buffer;
    }
  | {
      readonly kind: "udp";
      readonly sourcePort: number;
      readonly destinationPort: number;
      /** Without, the field is 0: the sender made none. */
      readonly checksum: boolean;
      readonly payload: Buffer;
    }
  | {
      readonly kind: "icmp";
      readonly type: number;
      readonly code: number;
      readonly identifier: number;
      readonly sequence: number;
      readonly payload: Buffer;
    }
  | { readonly kind: "raw"; readonly protocol: number; readonly payload: Buffer };

/** A whole packet without what follows from the rest (lengths, checksums). */
export interface Packet {
  readonly ethernet: { readonly destination: string; readonly source: string };
  readonly ip: {
    readonly source: number;
    readonly destination: number;
    readonly ttl: number;
    readonly tos: number;
    readonly identification: number;
    readonly dontFragment: boolean;
    readonly moreFragments: boolean;
    /** In units of 8 bytes. */
    readonly fragmentOffset: number;
    /** A multiple of 4 bytes, at most 40. */
    readonly options: Buffer;
  };
  readonly transport: Transport;
  /** Bytes of the frame behind the IP packet. */
  readonly padding: Buffer;
}

export type PacketParse =
  | { readonly ok: true; readonly packet: Packet }
  | { readonly ok: false; readonly reason: "not-ipv4" | "malformed" };

/** Parses a frame into its structure. Checksums are not verified: see `checksumsValid`. Inverse of `buildPacket`. */
export function parsePacket(frame: Buffer): PacketParse {
  const parsed = parseIpv4(frame);
  if (!parsed.ok) return parsed;
  const { ip } = parsed;
  const at = ETHERNET_BYTES;
  const transport = parseTransport(frame.subarray(ip.payloadAt, at + ip.totalBytes), ip);
  if (!transport) return { ok: false, reason: "malformed" };
  const packet = {
    ethernet: { destination: readMac(frame, 0), source: readMac(frame, 6) },
    ip: {
      source: ip.source,
      destination: ip.destination,
      ttl: ip.ttl,
      tos: frame.readUInt8(at + 1),
      identification: ip.identification,
      dontFragment: (frame.readUInt16BE(at + 6) & DONT_FRAGMENT) !== 0,
      moreFragments: ip.moreFragments,
      fragmentOffset: ip.fragmentOffset,
      options: frame.subarray(at + 20, ip.payloadAt),
    },
    transport,
    padding: frame.subarray(at + ip.totalBytes),
  };
  return { ok: true, packet };
}

function parseTransport(bytes: Buffer, ip: Ipv4View): Transport | undefined {
  if (ip.fragment) return { kind: "raw", protocol: ip.protocol, payload: bytes };
  switch (ip.protocol) {
    case PROTOCOL.tcp:
      return parseTcp(bytes);
    case PROTOCOL.udp:
      if (bytes.length < 8) return undefined;
      return {
        kind: "udp",
        sourcePort: bytes.readUInt16BE(0),
        destinationPort: bytes.readUInt16BE(2),
        checksum: bytes.readUInt16BE(6) !== 0,
        payload: bytes.subarray(8),
      };
    case PROTOCOL.icmp:
      if (bytes.length < 8) return undefined;
      return {
        kind: "icmp",
        type: bytes.readUInt8(0),
        code: bytes.readUInt8(1),
        identifier: bytes.readUInt16BE(4),
        sequence: bytes.readUInt16BE(6),
        payload: bytes.subarray(8),
      };
    default:
      return { kind: "raw", protocol: ip.protocol, payload: bytes };
  }
}

function parseTcp(bytes: Buffer): Transport | undefined {
  if (bytes.length < 20) return undefined;
  const headerBytes = (bytes.readUInt8(12) >>> 4) * 4;
  if (headerBytes < 20 || headerBytes > bytes.length) return undefined;
  return {
    kind: "tcp",
    sourcePort: bytes.readUInt16BE(0),
    destinationPort: bytes.readUInt16BE(2),
    sequence: bytes.readUInt32BE(4),
    acknowledgement: bytes.readUInt32BE(8),
    flags: bytes.readUInt8(13),
    window: bytes.readUInt16BE(14),
    options: bytes.subarray(20, headerBytes),
    payload: bytes.subarray(headerBytes),
  };
}

/** Writes a packet with right lengths and checksums. Inverse of `parsePacket`. */
export function buildPacket(packet: Packet): Buffer {
  const { ip } = packet;
  const transport = buildTransport(packet.transport, ip.source, ip.destination);
  const header = Buffer.alloc(20 + ip.options.length);
  header.writeUInt8(0x40 | (header.length / 4), 0);
  header.writeUInt8(ip.tos, 1);
  header.writeUInt16BE(header.length + transport.length, 2);
  header.writeUInt16BE(ip.identification, 4);
  const flags = (ip.dontFragment ? DONT_FRAGMENT : 0) | (ip.moreFragments ? MORE_FRAGMENTS : 0);
  header.writeUInt16BE(flags | ip.fragmentOffset, 6);
  header.writeUInt8(ip.ttl, 8);
  header.writeUInt8(protocolOf(packet.transport), 9);
  header.writeUInt32BE(ip.source, 12);
  header.writeUInt32BE(ip.destination, 16);
  ip.options.copy(header, 20);
  header.writeUInt16BE(checksum(header), 10);
  const ethernet = Buffer.alloc(ETHERNET_BYTES);
  writeMac(ethernet, 0, packet.ethernet.destination);
  writeMac(ethernet, 6, packet.ethernet.source);
  ethernet.writeUInt16BE(ETHERTYPE_IPV4, 12);
  return Buffer.concat([ethernet, header, transport, packet.padding]);
}

function protocolOf(transport: Transport): number {
  return transport.kind === "raw" ? transport.protocol : PROTOCOL[transport.kind];
}

function buildTransport(transport: Transport, source: number, destination: number): Buffer {
  switch (transport.kind) {
    case "tcp": {
      const header = Buffer.alloc(20 + transport.options.length);
      header.writeUInt16BE(transport.sourcePort, 0);
      header.writeUInt16BE(transport.destinationPort, 2);
      header.writeUInt32BE(transport.sequence, 4);
      header.writeUInt32BE(transport.acknowledgement, 8);
      header.writeUInt8((header.length / 4) << 4, 12);
      header.writeUInt8(transport.flags, 13);
      header.writeUInt16BE(transport.window, 14);
      transport.options.copy(header, 20);
      const bytes = Buffer.concat([header, transport.payload]);
      bytes.writeUInt16BE(checksum(bytes, pseudoHeader(source, destination, PROTOCOL.tcp, bytes.length)), 16);
      return bytes;
    }
    case "udp": {
      const bytes = Buffer.concat([Buffer.alloc(8), transport.payload]);
      bytes.writeUInt16BE(transport.sourcePort, 0);
      bytes.writeUInt16BE(transport.destinationPort, 2);
      bytes.writeUInt16BE(bytes.length, 4);
      if (!transport.checksum) return bytes;
      const sum = checksum(bytes, pseudoHeader(source, destination, PROTOCOL.udp, bytes.length));
      bytes.writeUInt16BE(sum === 0 ? 0xffff : sum, 6);
      return bytes;
    }
    case "icmp": {
      const bytes = Buffer.concat([Buffer.alloc(8), transport.payload]);
      bytes.writeUInt8(transport.type, 0);
      bytes.writeUInt8(transport.code, 1);
      bytes.writeUInt16BE(transport.identifier, 4);
      bytes.writeUInt16BE(transport.sequence, 6);
      bytes.writeUInt16BE(checksum(bytes), 2);
      return bytes;
    }
    case "raw":
      return transport.payload;
  }
}

/** The VXLAN header and the frame it carries: the payload of a UDP packet. */
export interface Vxlan {
  /** 0x08 says that the network identifier is valid. */
  readonly flags: number;
  /** 24 bits. */
  readonly vni: number;
  readonly frame: Buffer;
}

/** Parses the payload of a UDP packet as VXLAN; undefined when it is shorter than the header. Reserved bits are ignored. */
export function parseVxlan(payload: Buffer): Vxlan | undefined {
  if (payload.length < VXLAN_BYTES) return undefined;
  return {
    flags: payload.readUInt8(0),
    vni: payload.readUIntBE(4, 3),
    frame: payload.subarray(VXLAN_BYTES),
  };
}

export function buildVxlan(vxlan: Vxlan): Buffer {
  const header = Buffer.alloc(VXLAN_BYTES);
  header.writeUInt8(vxlan.flags, 0);
  header.writeUIntBE(vxlan.vni, 4, 3);
  return Buffer.concat([header, vxlan.frame]);
}

/** The one's complement sum of 16-bit words (RFC 1071); an odd last byte is the high half of a word. */
function onesSum(bytes: Buffer, seed = 0): number {
  let sum = seed;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  if (bytes.length % 2 === 1) sum += bytes.readUInt8(bytes.length - 1) << 8;
  return fold(sum);
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

/** The Internet checksum (RFC 1071) of bytes whose checksum field is 0, on top of another sum such as `pseudoHeader`. */
export function checksum(bytes: Buffer, seed = 0): number {
  return ~onesSum(bytes, seed) & 0xffff;
}

/** The sum of the pseudo-header that TCP and UDP checksums cover. `bytes` is the length of the transport packet. */
export function pseudoHeader(source: number, destination: number, protocol: number, bytes: number): number {
  return fold(
    [...words(source), ...words(destination), protocol, bytes].reduce((sum, word) => sum + word, 0),
  );
}

/** A 32-bit number as two 16-bit words, the high one first. */
export function words(value: number): readonly [number, number] {
  return [value >>> 16, value & 0xffff];
}

/** The checksum after 16-bit words `from` became `to`: HC' = ~(~HC + ~m + m'), equation 3 of RFC 1624. */
export function updateChecksum(check: number, from: readonly number[], to: readonly number[]): number {
  let sum = ~check & 0xffff;
  for (const word of from) sum += ~word & 0xffff;
  for (const word of to) sum += word;
  return ~fold(sum) & 0xffff;
}

/**
 * Whether the checksums of a frame are right: that of the IPv4 header, and that of TCP, UDP (0 counts as right, RFC 768) or
 * ICMP unless it is a fragment. False for what is no well-formed packet.
 */
export function checksumsValid(frame: Buffer): boolean {
  const parsed = parseIpv4(frame);
  if (!parsed.ok) return false;
  const { ip } = parsed;
  if (onesSum(frame.subarray(ETHERNET_BYTES, ip.payloadAt)) !== 0xffff) return false;
  if (ip.fragment) return true;
  const payload = frame.subarray(ip.payloadAt, ip.payloadAt + ip.payloadBytes);
  const pseudo = pseudoHeader(ip.source, ip.destination, ip.protocol, payload.length);
  switch (ip.protocol) {
    case PROTOCOL.tcp:
      return payload.length >= 20 && onesSum(payload, pseudo) === 0xffff;
    case PROTOCOL.udp:
      return payload.length >= 8 && (payload.readUInt16BE(6) === 0 || onesSum(payload, pseudo) === 0xffff);
    case PROTOCOL.icmp:
      return payload.length >= 8 && onesSum(payload) === 0xffff;
    default:
      return true;
  }
}

/** Reads six bytes as text: `02:00:00:00:00:01`. */
export function readMac(frame: Buffer, at: number): string {
  return frame.toString("hex", at, at + 6).replace(/..(?!$)/g, "$&:");
}

export function writeMac(frame: Buffer, at: number, mac: string): void {
  frame.write(mac.replaceAll(":", ""), at, 6, "hex");
}
