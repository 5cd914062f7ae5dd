/** Packets in parts, and whole again: for tests. */
import assert from "node:assert/strict";
import { ETHERNET_BYTES, parseIpv4, parsePacket } from "../packet.ts";
import { partOfPacket } from "./sketch.ts";

/** A payload that makes three fragments of a packet. */
export const PAYLOAD_OF_PARTS = Buffer.from(Array.from({ length: 100 }, (_, i) => i));

/** Of 108 to 120 bytes behind the IP header. */
const SPANS = [
  [0, 5],
  [5, 10],
  [10, 15],
] as const;

/** A packet in three fragments. */
export function partsOf(frame: Buffer, identification = 7): readonly Buffer[] {
  return SPANS.map(([from, to]) => partOfPacket(frame, { identification, from, to }));
}

/** The packet whose fragments these are, as its receiver sees it. */
export function reassemble(parts: readonly Buffer[]): Buffer {
  const views = parts.map((frame) => {
    const parsed = parseIpv4(frame);
    assert.ok(parsed.ok);
    return { frame, ip: parsed.ip };
  });
  const sorted = views.sort((a, b) => a.ip.fragmentOffset - b.ip.fragmentOffset);
  const header = Buffer.from(sorted[0]!.frame.subarray(0, sorted[0]!.ip.payloadAt));
  const payload = sorted.map(({ frame, ip }) => frame.subarray(ip.payloadAt, ip.payloadAt + ip.payloadBytes));
  const whole = Buffer.concat([header, ...payload]);
  whole.writeUInt16BE(whole.length - ETHERNET_BYTES, ETHERNET_BYTES + 2);
  whole.writeUInt16BE(0, ETHERNET_BYTES + 6);
  return whole;
}

/** Who sends what to whom, by transport, of a packet whose IP checksum is not looked at. */
export function meaningOf(frame: Buffer) {
  const result = parsePacket(frame);
  assert.ok(result.ok);
  const { ip, transport } = result.packet;
  return { source: ip.source, destination: ip.destination, transport };
}
