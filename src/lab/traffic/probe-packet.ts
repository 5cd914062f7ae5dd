/**
 * The numbered packets that the prober sends and the echo server answers, as UDP payloads. Big-endian:
 *
 *     0  magic "NATP"    4  type    8  run    12  flow    16  sequence number
 *     20 received        24 duplicates        28 address  32 port   (in answers; zero in requests)
 *
 * and zeros up to any length. `run` is a random number of the prober's, `flow` its number of the flow. `received` counts the distinct
 * probes of the flow that have reached the server, `duplicates` the others; address and port are those that the server sees.
 */
import { formatAddress, parseAddress } from "../../model/ipv4.ts";

export const PROBE_BYTES = 36;
const MAGIC = 0x4e415450;

/** A `query` asks for the counts without being counted. Answers repeat the sequence number of what they answer. */
export const PROBE_TYPES = ["probe", "query", "probe-answer", "query-answer"] as const;
export type ProbeType = (typeof PROBE_TYPES)[number];

export interface ProbeRequest {
  readonly type: ProbeType;
  readonly run: number;
  readonly flow: number;
  readonly sequence: number;
}

export interface ProbeAnswer extends ProbeRequest {
  readonly received: number;
  readonly duplicates: number;
  /** `address:port` of the flow as the server sees it. */
  readonly outside: string;
}

/** A request of `bytes` bytes, at least PROBE_BYTES. */
export function encodeRequest(request: ProbeRequest, bytes: number = PROBE_BYTES): Buffer {
  const packet = Buffer.alloc(Math.max(bytes, PROBE_BYTES));
  packet.writeUInt32BE(MAGIC, 0);
  packet.writeUInt8(PROBE_TYPES.indexOf(request.type), 4);
  packet.writeUInt32BE(request.run, 8);
  packet.writeUInt32BE(request.flow, 12);
  packet.writeUInt32BE(request.sequence, 16);
  return packet;
}

/** An answer, as long as what it answers. */
export function encodeAnswer(answer: ProbeAnswer, bytes: number): Buffer {
  const packet = encodeRequest(answer, bytes);
  const [address = "", port] = answer.outside.split(":");
  packet.writeUInt32BE(answer.received, 20);
  packet.writeUInt32BE(answer.duplicates, 24);
  packet.writeUInt32BE(parseAddress(address) ?? 0, 28);
  packet.writeUInt16BE(Number(port), 32);
  return packet;
}

/** Reads a request or answer; undefined for anything else. Of a request, the fields of answers mean nothing. */
export function decodeProbe(packet: Buffer): ProbeAnswer | undefined {
  if (packet.length < PROBE_BYTES || packet.readUInt32BE(0) !== MAGIC) return undefined;
  const type = PROBE_TYPES[packet.readUInt8(4)];
  if (!type) return undefined;
  return {
    type,
    run: packet.readUInt32BE(8),
    flow: packet.readUInt32BE(12),
    sequence: packet.readUInt32BE(16),
    received: packet.readUInt32BE(20),
    duplicates: packet.readUInt32BE(24),
    outside: `${formatAddress(packet.readUInt32BE(28))}:${packet.readUInt16BE(32)}`,
  };
}
