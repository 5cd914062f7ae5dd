/** What a packet is, before anything is known about its flow (steps 6 to 8 of docs/dataplane.md). */
import { FABRIC_NETWORK } from "../../model/slots.ts";
import { ECHO_REPLY, ECHO_REQUEST, ICMP_ERRORS, type Ipv4View, PROTOCOL } from "../packet.ts";
import type { Direction, DropCounter, Tuple } from "./state.ts";

export type Classified =
  | {
      readonly ok: true;
      readonly tuple: Tuple;
      /** 0 for what is not TCP. */
      readonly tcpFlags: number;
      /** Of an ICMP error: the packet that it quotes. */
      readonly quoted: Quoted | undefined;
    }
  | { readonly ok: false; readonly drop: DropCounter };

/** Where the packet that an ICMP error quotes lies in the frame. It may be cut off behind the first 8 bytes of its transport header. */
export interface Quoted {
  readonly ipAt: number;
  /** The other end of the flow that the error complains about: whom the quoted packet went to. */
  readonly destination: number;
  readonly protocol: number;
  readonly transportAt: number;
  /** How many bytes of its transport are there. */
  readonly transportBytes: number;
}

/** The flow that a packet of a direction belongs to, or why it can belong to none. */
export function classify(frame: Buffer, ip: Ipv4View, direction: Direction): Classified {
  if (ip.laterFragment) return { ok: false, drop: "drop_fragment" };
  switch (ip.protocol) {
    case PROTOCOL.tcp:
      if (ip.payloadBytes < 20) return { ok: false, drop: "drop_malformed" };
      return {
        ok: true,
        tuple: portTuple(frame, ip, "tcp"),
        tcpFlags: frame.readUInt8(ip.payloadAt + 13),
        quoted: undefined,
      };
    case PROTOCOL.udp:
      if (ip.payloadBytes < 8) return { ok: false, drop: "drop_malformed" };
      return { ok: true, tuple: portTuple(frame, ip, "udp"), tcpFlags: 0, quoted: undefined };
    case PROTOCOL.icmp:
      if (ip.payloadBytes < 8) return { ok: false, drop: "drop_malformed" };
      return classifyIcmp(frame, ip, direction);
    default:
      return { ok: false, drop: "drop_unsupported" };
  }
}

function portTuple(frame: Buffer, ip: Ipv4View, protocol: "tcp" | "udp"): Tuple {
  return {
    network: FABRIC_NETWORK,
    protocol,
    source: { address: ip.source, port: frame.readUInt16BE(ip.payloadAt) },
    destination: { address: ip.destination, port: frame.readUInt16BE(ip.payloadAt + 2) },
  };
}

function classifyIcmp(frame: Buffer, ip: Ipv4View, direction: Direction): Classified {
  const type = frame.readUInt8(ip.payloadAt);
  const code = frame.readUInt8(ip.payloadAt + 1);
  if (ICMP_ERRORS.includes(type)) return classifyError(frame, ip, direction);
  const allowed = direction === "outbound" ? ECHO_REQUEST : ECHO_REPLY;
  if (type !== allowed || code !== 0) return { ok: false, drop: "drop_unsupported" };
  const identifier = frame.readUInt16BE(ip.payloadAt + 4);
  const outbound = direction === "outbound";
  const tuple: Tuple = {
    network: FABRIC_NETWORK,
    protocol: "icmp",
    source: { address: ip.source, port: outbound ? identifier : 0 },
    destination: { address: ip.destination, port: outbound ? 0 : identifier },
  };
  return { ok: true, tuple, tcpFlags: 0, quoted: undefined };
}

/**
 * An ICMP error belongs to the flow of the packet that it quotes, which went the other way: the tuple is the quoted packet's,
 * reversed. It must have been sent to whoever sent the quoted packet.
 */
function classifyError(frame: Buffer, ip: Ipv4View, direction: Direction): Classified {
  const quoted = findQuoted(frame, ip);
  const ports = quoted && quotedPorts(frame, quoted, direction);
  if (!ports) return { ok: false, drop: "drop_unsupported" };
  const tuple: Tuple = {
    network: FABRIC_NETWORK,
    protocol: ports.protocol,
    source: { address: quoted.destination, port: ports.destination },
    destination: { address: ip.destination, port: ports.source },
  };
  return { ok: true, tuple, tcpFlags: 0, quoted };
}

/** The packet that an ICMP error quotes, if it is one that can be rewritten and the error goes to who sent it. */
export function findQuoted(frame: Buffer, ip: Ipv4View): Quoted | undefined {
  if (ip.laterFragment || ip.protocol !== PROTOCOL.icmp || ip.payloadBytes < 36) return undefined;
  if (!ICMP_ERRORS.includes(frame.readUInt8(ip.payloadAt))) return undefined;
  const ipAt = ip.payloadAt + 8;
  const end = ip.payloadAt + ip.payloadBytes;
  const first = frame.readUInt8(ipAt);
  const transportAt = ipAt + (first & 0x0f) * 4;
  const fragmentOffset = frame.readUInt16BE(ipAt + 6) & 0x1fff;
  if (first >> 4 !== 4 || transportAt < ipAt + 20 || transportAt + 8 > end || fragmentOffset !== 0)
    return undefined;
  const protocol = frame.readUInt8(ipAt + 9);
  const isEcho =
    frame.readUInt8(transportAt + 1) === 0 &&
    [ECHO_REQUEST, ECHO_REPLY].includes(frame.readUInt8(transportAt));
  const known =
    protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp || (protocol === PROTOCOL.icmp && isEcho);
  if (!known || frame.readUInt32BE(ipAt + 12) !== ip.destination) return undefined;
  const destination = frame.readUInt32BE(ipAt + 16);
  return { ipAt, destination, protocol, transportAt, transportBytes: end - transportAt };
}

/** The quoted packet's ports. An echo has its identifier on the endpoint's side, and only one direction in which it can have gone. */
function quotedPorts(
  frame: Buffer,
  { protocol, transportAt }: Quoted,
  direction: Direction,
):
  | { readonly protocol: Tuple["protocol"]; readonly source: number; readonly destination: number }
  | undefined {
  if (protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp) {
    const source = frame.readUInt16BE(transportAt);
    return {
      protocol: protocol === PROTOCOL.tcp ? "tcp" : "udp",
      source,
      destination: frame.readUInt16BE(transportAt + 2),
    };
  }
  const type = frame.readUInt8(transportAt);
  const identifier = frame.readUInt16BE(transportAt + 4);
  if (direction === "inbound" && type === ECHO_REQUEST)
    return { protocol: "icmp", source: identifier, destination: 0 };
  if (direction === "outbound" && type === ECHO_REPLY)
    return { protocol: "icmp", source: 0, destination: identifier };
  return undefined;
}
