/** What a node answers by itself to a packet that it drops, back to where it came from. */
import { ETHERNET_BYTES, type Ipv4View, readMac, TCP_FLAG } from "../packet.ts";
import { buildSketch, tcp } from "./sketch.ts";

/**
 * The reset for a TCP segment of a connection that nobody knows (RFC 9293, section 3.5.2). The frame has a whole TCP header; undefined when the frame is a reset itself, which is never answered, or a
 * fragment, which does not tell how much the segment has.
 */
export function resetFor(frame: Buffer, ip: Ipv4View): Buffer | undefined {
  const at = ip.payloadAt;
  const flags = frame.readUInt8(at + 13);
  if (flags & TCP_FLAG.rst || ip.fragment) return undefined;
  const hasAck = (flags & TCP_FLAG.ack) !== 0;
  const data = ip.payloadBytes - (frame.readUInt8(at + 12) >> 4) * 4;
  const taken = data + (flags & TCP_FLAG.syn ? 1 : 0) + (flags & TCP_FLAG.fin ? 1 : 0);
  return buildSketch({
    ethernet: { destination: readMac(frame, 6), source: readMac(frame, 0) },
    ip: { source: ip.destination, destination: ip.source },
    transport: tcp({
      sourcePort: frame.readUInt16BE(at + 2),
      destinationPort: frame.readUInt16BE(at),
      sequence: hasAck ? frame.readUInt32BE(at + 8) : 0,
      acknowledgement: hasAck ? 0 : (frame.readUInt32BE(at + 4) + taken) >>> 0,
      flags: hasAck ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
      window: 0,
    }),
  });
}

/** What is quoted: the header and 8 bytes (RFC 792). */
const QUOTE_BYTES = 28;

/** Codes of "destination unreachable" (RFC 792, RFC 1812). */
const FRAGMENTATION_NEEDED = 4;
const ADMINISTRATIVELY_PROHIBITED = 13;

/**
 * "Fragmentation needed" (RFC 1191) from an address, with the largest packet that would fit; undefined when the packet may be fragmented, has
 * options or is a later fragment.
 */
export function tooBigFor(frame: Buffer, ip: Ipv4View, from: number, mtu: number): Buffer | undefined {
  const mayFragment = (frame.readUInt16BE(ETHERNET_BYTES + 6) & 0x4000) === 0;
  return mayFragment ? undefined : unreachableFor(frame, ip, from, FRAGMENTATION_NEEDED, mtu);
}

/** "Administratively prohibited" (RFC 5508 REQ-8) from an address; undefined when the packet has options or is a later fragment. */
export function prohibitedFor(frame: Buffer, ip: Ipv4View, from: number): Buffer | undefined {
  return unreachableFor(frame, ip, from, ADMINISTRATIVELY_PROHIBITED, 0);
}

function unreachableFor(
  frame: Buffer,
  ip: Ipv4View,
  from: number,
  code: number,
  mtu: number,
): Buffer | undefined {
  // RFC 1122, section 3.2.2: nothing is said about a later fragment.
  if (ip.headerBytes !== 20 || ip.laterFragment) return undefined;
  return buildSketch({
    ethernet: { destination: readMac(frame, 6), source: readMac(frame, 0) },
    ip: { source: from, destination: ip.source },
    transport: {
      kind: "icmp",
      type: 3,
      code,
      identifier: 0,
      sequence: mtu,
      payload: frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + QUOTE_BYTES),
    },
  });
}
