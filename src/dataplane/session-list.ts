/** Live sessions, read from the records in the kernel. */
import { formatAddress } from "../model/ipv4.ts";
import { swap16, swap32 } from "./btf.ts";
import type { Session } from "./dataplane.ts";
import { type KernelMaps, readConfig, readSweeper } from "./kernel-maps.ts";
import type { Codecs, RecordRow } from "./layouts.ts";
import * as bpf from "./libbpf.ts";

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

/** The records that were ever used, as they lie in memory, a part at a time. What changes meanwhile may or may not be seen. */
function* readRecords(maps: KernelMaps, codecs: Codecs): Generator<RecordRow[]> {
  const { fd, info } = maps.records;
  const used = Math.min(readSweeper(maps, codecs).high_water, info.maxEntries);
  const { size } = codecs.record;
  for (const { count, values } of bpf.readBatches(fd, info, used)) {
    yield Array.from({ length: count }, (_, i) => codecs.record.decode(values, i * size));
  }
}

/** The records of all sessions. */
export function readSessionRows(maps: KernelMaps, codecs: Codecs): RecordRow[] {
  return [...readRecords(maps, codecs)].flat().filter((row) => row.kind === codecs.recordKinds.session);
}

/** Reads all sessions, a part at a time, so that the reader can let others run in between. */
export function* listSessions(maps: KernelMaps, codecs: Codecs): Generator<Session[]> {
  const now = process.hrtime.bigint() + readConfig(maps, codecs).clock_offset;
  for (const rows of readRecords(maps, codecs)) {
    yield rows.filter((row) => row.kind === codecs.recordKinds.session).map((row) => sessionOf(row, now));
  }
}
