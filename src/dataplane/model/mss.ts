/** MSS clamping (step 15 of docs/dataplane.md). */
import type { NatBehaviour } from "../../model/nat-behaviour.ts";
import { type Ipv4View, PROTOCOL, TCP_FLAG, updateChecksum } from "../packet.ts";
import type { Route } from "./translate.ts";

const TCP_HEADER_BYTES = 20;
const TCP_IP_HEADER_BYTES = 40;
const NO_OPERATION = 1;
const MSS = 2;

/** A frame whose SYN, if it is one, announces no larger segments than the gateway lets through. `frame` stays as it is. */
export function clampMss(frame: Buffer, ip: Ipv4View, clamp: NatBehaviour["mssClamp"], route: Route): Buffer {
  if (clamp === undefined || ip.protocol !== PROTOCOL.tcp) return frame;
  const most = clamp === "PathMtu" ? mssOf(route) : clamp;
  const at = isSyn(frame, ip) ? findMss(frame, ip) : undefined;
  if (most === undefined || at === undefined || frame.readUInt16BE(at) <= most) return frame;
  const out = Buffer.from(frame);
  out.writeUInt16BE(most, at);
  // All words of the checksum that the value has a part in.
  const odd = (at - ip.payloadAt) % 2 !== 0;
  const words = (buffer: Buffer) => (odd ? [at - 1, at + 1] : [at]).map((i) => buffer.readUInt16BE(i));
  const sumAt = ip.payloadAt + 16;
  out.writeUInt16BE(updateChecksum(frame.readUInt16BE(sumAt), words(frame), words(out)), sumAt);
  return out;
}

function mssOf(route: Route): number | undefined {
  if (route.kind !== "found" && route.kind !== "no-neighbour") return undefined;
  return route.mtu > TCP_IP_HEADER_BYTES ? route.mtu - TCP_IP_HEADER_BYTES : undefined;
}

function isSyn(frame: Buffer, ip: Ipv4View): boolean {
  return (frame.readUInt8(ip.payloadAt + 13) & TCP_FLAG.syn) !== 0;
}

/** Where the value of the MSS option lies; undefined when there is none. */
function findMss(frame: Buffer, ip: Ipv4View): number | undefined {
  const headerBytes = (frame.readUInt8(ip.payloadAt + 12) >> 4) * 4;
  if (headerBytes > ip.payloadBytes) return undefined;
  const end = ip.payloadAt + headerBytes;
  for (let at = ip.payloadAt + TCP_HEADER_BYTES; at + 4 <= end; ) {
    const kind = frame.readUInt8(at);
    const length = frame.readUInt8(at + 1);
    if (kind === MSS && length === 4) return at + 2;
    if (kind === 0 || (kind !== NO_OPERATION && length < 2)) return undefined;
    at += kind === NO_OPERATION ? 1 : length;
  }
  return undefined;
}
