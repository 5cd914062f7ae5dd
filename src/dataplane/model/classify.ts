/** What a packet is, before anything is known about its flow (steps 6 to 8 of docs/dataplane.md). */
import { FABRIC_NETWORK } from "../../model/slots.ts";
import { ECHO_REPLY, ECHO_REQUEST, type Ipv4View, PROTOCOL } from "../packet.ts";
import type { Direction, DropCounter, Tuple } from "./state.ts";

export type Classified =
  /** `tcpFlags` is 0 for what is not TCP. */
  | { readonly ok: true; readonly tuple: Tuple; readonly tcpFlags: number }
  | { readonly ok: false; readonly drop: DropCounter };

/** The flow that a packet of a direction belongs to, or why it can belong to none. */
export function classify(frame: Buffer, ip: Ipv4View, direction: Direction): Classified {
  if (ip.fragment) return { ok: false, drop: "drop_fragment" };
  switch (ip.protocol) {
    case PROTOCOL.tcp:
      if (ip.payloadBytes < 20) return { ok: false, drop: "drop_malformed" };
      return { ok: true, tuple: portTuple(frame, ip, "tcp"), tcpFlags: frame.readUInt8(ip.payloadAt + 13) };
    case PROTOCOL.udp:
      if (ip.payloadBytes < 8) return { ok: false, drop: "drop_malformed" };
      return { ok: true, tuple: portTuple(frame, ip, "udp"), tcpFlags: 0 };
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
  return { ok: true, tuple, tcpFlags: 0 };
}
