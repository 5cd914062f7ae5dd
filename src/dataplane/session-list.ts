/** Live sessions, read from the records in the kernel. */
import { formatAddress } from "../model/ipv4.ts";
import { swap16, swap32 } from "./btf.ts";
import type { Session } from "./dataplane.ts";
import { type KernelMaps, readArray, readConfig, readSweeper } from "./kernel-maps.ts";
import type { Codecs, RecordRow } from "./layouts.ts";

const PROTOCOLS: Readonly<Record<number, Session["protocol"]>> = { 1: "icmp", 6: "tcp", 17: "udp" };

const end = (address: number, port: number) => ({
  address: formatAddress(swap32(address)),
  port: swap16(port),
});

function sessionOf(row: RecordRow, now: bigint): Session {
  const idle = (seen: bigint) => (seen === 0n ? undefined : Math.max(0, Number(now - seen) / 1e9));
  return {
    protocol: PROTOCOLS[row.protocol_network & 0xff]!,
    inside: end(row.inside_address, row.inside_port),
    public: end(row.public_address, row.public_port),
    remote: end(row.remote_address, row.remote_port),
    idleOut: idle(row.seen_out),
    idleIn: idle(row.seen_in),
  };
}

/** The records of all sessions, as they lie in memory. What changes meanwhile may or may not be seen. */
export function readSessionRows(maps: KernelMaps, codecs: Codecs): RecordRow[] {
  const count = Math.min(readSweeper(maps, codecs).high_water, maps.records.info.maxEntries);
  if (count === 0) return [];
  const values = readArray(maps.records, count);
  const size = codecs.record.size;
  return Array.from({ length: count }, (_, i) => codecs.record.decode(values, i * size)).filter(
    (row) => row.kind === codecs.recordKinds.session,
  );
}

/** Reads all sessions. */
export function listSessions(maps: KernelMaps, codecs: Codecs): Session[] {
  const now = process.hrtime.bigint() + readConfig(maps, codecs).clock_offset;
  return readSessionRows(maps, codecs).map((row) => sessionOf(row, now));
}
