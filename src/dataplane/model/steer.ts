/** Steering: wrapping for another owner, unwrapping, answering probes (docs/dataplane.md, "Wrap and unwrap"). */
import { FABRIC_NETWORK, mix32 } from "../../model/slots.ts";
import {
  buildPacket,
  buildVxlan,
  ETHERNET_BYTES,
  type Ipv4View,
  PROTOCOL,
  parseIpv4,
  parseVxlan,
  readMac,
  VXLAN_BYTES,
  writeMac,
} from "../packet.ts";
import { MARKS, type WrapMark } from "./moves.ts";
import type { Direction, ModelConfig, Tuple } from "./state.ts";

/** Bytes that a wrap adds: Ethernet, IPv4, UDP, VXLAN. */
export const WRAP_BYTES = ETHERNET_BYTES + 20 + 8 + VXLAN_BYTES;
/** What a wrap depends on. */
export type Outline = Pick<Tuple, "network" | "source" | "destination">;

export const PROBE_VNI = 0xffffff;
export const VXLAN_FLAGS = 0x08;

/** The inner destination MAC tells the mark: the last byte counts from 0 for what is steered. */
const INNER_DESTINATION: ReadonlyMap<string, WrapMark> = new Map(
  [...MARKS.slice(1), "meeting" as const].map((mark, i) => [`02:4e:41:54:00:0${i}`, mark]),
);
/** The inner source MAC tells the direction. */
const INNER_SOURCE: Readonly<Record<Direction, string>> = {
  outbound: "02:4e:41:54:00:01",
  inbound: "02:4e:41:54:00:02",
};

/**
 * Wraps a packet for the node at address `to.node`. It leaves with TTL 64, whether by XDP or by the kernel, each of which takes one
 * off; the kernel takes it because the outer MAC addresses are those with which the frame came. What the frame had behind the IP
 * packet stays behind the wrap.
 */
export function wrap(
  config: ModelConfig,
  frame: Buffer,
  ip: Ipv4View,
  tuple: Outline,
  direction: Direction,
  to: { readonly node: number; readonly mark: WrapMark },
): Buffer {
  const inner = Buffer.from(frame.subarray(0, ETHERNET_BYTES + ip.totalBytes));
  const [destination] = [...INNER_DESTINATION].find(([, mark]) => mark === to.mark)!;
  writeMac(inner, 0, destination);
  writeMac(inner, 6, INNER_SOURCE[direction]);
  return buildPacket({
    ethernet: { destination: readMac(frame, 0), source: readMac(frame, 6) },
    ip: {
      source: config.address,
      destination: to.node,
      ttl: 65,
      tos: 0,
      identification: 0,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      options: Buffer.alloc(0),
    },
    transport: {
      kind: "udp",
      sourcePort: wrapSourcePort(ip.fragment ? withoutPorts(ip) : tuple),
      destinationPort: config.vxlanPort,
      checksum: false,
      payload: buildVxlan({ flags: VXLAN_FLAGS, vni: tuple.network, frame: inner }),
    },
    padding: frame.subarray(inner.length),
  });
}

/** All fragments of a datagram go one way: only the first has ports. */
export function withoutPorts(ip: Ipv4View): Outline {
  return {
    network: FABRIC_NETWORK,
    source: { address: ip.source, port: 0 },
    destination: { address: ip.destination, port: 0 },
  };
}

/** The outer source port: it spreads flows over the fabric's paths, and keeps each on one (RFC 7348, section 5). */
export function wrapSourcePort({ source, destination }: Outline): number {
  const ports = ((source.port << 16) | destination.port) >>> 0;
  return 49152 + (mix32((source.address ^ destination.address ^ ports) >>> 0) % 16384);
}

/** Step 3: whether a packet is a wrap or a probe for this node. A fragment has no ports that could be trusted. */
export function isWrapped(config: ModelConfig, frame: Buffer, ip: Ipv4View): boolean {
  return (
    ip.protocol === PROTOCOL.udp &&
    ip.destination === config.address &&
    !ip.fragment &&
    ip.payloadBytes >= 8 &&
    frame.readUInt16BE(ip.payloadAt + 2) === config.vxlanPort
  );
}

export type Unwrapped =
  | {
      readonly kind: "packet";
      readonly frame: Buffer;
      readonly ip: Ipv4View;
      readonly direction: Direction;
      readonly mark: WrapMark;
    }
  /** The answer to a probe, to be sent out of the interface that the probe came from; and what the probe carries. */
  | { readonly kind: "probe"; readonly answer: Buffer; readonly content: Buffer }
  | { readonly kind: "bad" };

const BAD: Unwrapped = { kind: "bad" };

/**
 * Takes a packet out of its wrap. `frame` is one that `isWrapped` says yes to. Only nodes of Natto send here, so whatever one
 * would not send is refused: reserved bits that are set, a UDP length that is not the packet's, options.
 */
export function unwrap(config: ModelConfig, frame: Buffer, ip: Ipv4View): Unwrapped {
  const payload = frame.subarray(ip.payloadAt + 8, ip.payloadAt + ip.payloadBytes);
  const vxlan = parseVxlan(payload);
  if (ip.headerBytes !== 20 || !vxlan || !config.peers.has(ip.source)) return BAD;
  if (payload.readUInt32BE(0) !== VXLAN_FLAGS << 24) return BAD;
  if (vxlan.vni === PROBE_VNI) {
    const content = payload.subarray(VXLAN_BYTES);
    return config.programmed ? { kind: "probe", answer: answerProbe(config, frame, ip), content } : BAD;
  }
  const udpBytes = frame.readUInt16BE(ip.payloadAt + 4);
  if (payload.readUInt32BE(4) !== FABRIC_NETWORK || udpBytes !== ip.payloadBytes) return BAD;
  if (vxlan.frame.length < ETHERNET_BYTES + 20) return BAD;
  const direction = directionOf(readMac(vxlan.frame, 6));
  const mark = INNER_DESTINATION.get(readMac(vxlan.frame, 0));
  if (!direction || !mark) return BAD;
  const inner = Buffer.from(frame.subarray(WRAP_BYTES));
  const parsed = parseIpv4(inner);
  if (!parsed.ok || (mark === "meeting" && !parsed.ip.fragment)) return BAD;
  frame.copy(inner, 0, 0, ETHERNET_BYTES);
  return { kind: "packet", frame: inner, ip: parsed.ip, direction, mark };
}

function directionOf(mac: string): Direction | undefined {
  if (mac === INNER_SOURCE.outbound) return "outbound";
  return mac === INNER_SOURCE.inbound ? "inbound" : undefined;
}

function answerProbe(config: ModelConfig, frame: Buffer, ip: Ipv4View): Buffer {
  const answer = Buffer.from(frame);
  writeMac(answer, 0, readMac(frame, 6));
  writeMac(answer, 6, readMac(frame, 0));
  answer.writeUInt32BE(ip.destination, ETHERNET_BYTES + 12);
  answer.writeUInt32BE(ip.source, ETHERNET_BYTES + 16);
  answer.writeUInt16BE(config.vxlanPort, ip.payloadAt);
  answer.writeUInt16BE(frame.readUInt16BE(ip.payloadAt), ip.payloadAt + 2);
  answer.writeUInt16BE(0, ip.payloadAt + 6);
  return answer;
}
