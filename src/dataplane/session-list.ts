/** Live sessions, read from the records in the kernel. */
import { formatAddress } from "../model/ipv4.ts";
import { swap16, swap32 } from "./btf.ts";
import type { Session } from "./dataplane.ts";
import { type KernelMaps, readConfig, readSweeper } from "./kernel-maps.ts";
import type { Codecs, RecordRow } from "./layouts.ts";
import * as bpf from "./libbpf.ts";
import type { UsageRecord } from "./usage-tally.ts";

/** The protocol in the low bits of `protocol_network`. */
export function protocolOf(number: number): Session["protocol"] {
  return PROTOCOLS[number & PROTOCOL_BITS]!;
}

const PROTOCOLS: Readonly<Record<number, Session["protocol"]>> = { 1: "icmp", 6: "tcp", 17: "udp" };

/** In `protocol_network`; the bit above them tells what covers sessions from a session. */
const PROTOCOL_BITS = 0x7f;
/** In place of a parent's index. */
const NO_PARENT = 0xffffffff;

const end = (address: number, port: number) => ({
  address: formatAddress(swap32(address)),
  port: swap16(port),
});

function sessionOf(row: RecordRow, now: bigint): Session {
  const idle = (seen: bigint) => (seen === 0n ? undefined : Math.max(0, Number(now - seen) / 1e9));
  return {
    protocol: protocolOf(row.protocol_network),
    inside: end(row.inside_address, row.inside_port),
    public: end(row.public_address, row.public_port),
    remote: end(row.remote_address, row.remote_port),
    idleOut: idle(row.seen_out),
    idleIn: idle(row.seen_in),
  };
}

/** The parts of the table of records that were ever used, as they lie in memory, a part at a time. What changes meanwhile may or may not be seen. */
function readParts(maps: KernelMaps, codecs: Codecs): Generator<bpf.Entries> {
  const { fd, info } = maps.records;
  return bpf.readBatches(fd, info, Math.min(readSweeper(maps, codecs).high_water, info.maxEntries));
}

function* readRecords(maps: KernelMaps, codecs: Codecs): Generator<RecordRow[]> {
  const { size } = codecs.record;
  for (const { count, values } of readParts(maps, codecs)) {
    yield Array.from({ length: count }, (_, i) => codecs.record.decode(values, i * size));
  }
}

/** The records of all sessions. */
export function readSessionRows(maps: KernelMaps, codecs: Codecs): RecordRow[] {
  return [...readRecords(maps, codecs)].flat().filter((row) => row.kind === codecs.recordKinds.session);
}

/** How many sessions have their ports in these slots. */
export function countSessionsIn(maps: KernelMaps, codecs: Codecs, slots: ReadonlySet<number>): number {
  if (slots.size === 0) return 0;
  return readSessionRows(maps, codecs).filter((row) => slots.has(row.slot)).length;
}

/** Reads all sessions, a part at a time, so that the reader can let others run in between. */
export function* listSessions(maps: KernelMaps, codecs: Codecs): Generator<Session[]> {
  const now = process.hrtime.bigint() + readConfig(maps, codecs).clock_offset;
  for (const rows of readRecords(maps, codecs)) {
    yield rows.filter((row) => row.kind === codecs.recordKinds.session).map((row) => sessionOf(row, now));
  }
}

/** Reads what of the records tells which ports are in use, a part at a time. */
export function* listUsageRecords(maps: KernelMaps, codecs: Codecs): Generator<UsageRecord[]> {
  const { record, recordKinds } = codecs;
  const member = (name: keyof RecordRow) => record.reader(name);
  const [kind, parent, protocol] = [member("kind"), member("parent"), member("protocol_network")];
  const [inside, outside, remote] = [
    member("inside_address"),
    member("public_address"),
    member("remote_address"),
  ];
  const [publicPort, remotePort] = [member("public_port"), member("remote_port")];
  for (const { count, values } of readParts(maps, codecs)) {
    const part: UsageRecord[] = [];
    for (let at = 0; at < count * record.size; at += record.size) {
      const what = kind(values, at);
      const isSession = what === recordKinds.session;
      if (!isSession && what !== recordKinds.mapping) continue;
      part.push({
        isSession,
        holdsPort: !isSession || parent(values, at) === NO_PARENT,
        protocol: protocolOf(protocol(values, at)),
        inside: swap32(inside(values, at)),
        publicAddress: swap32(outside(values, at)),
        publicPort: swap16(publicPort(values, at)),
        remote: swap32(remote(values, at)),
        remotePort: swap16(remotePort(values, at)),
      });
    }
    yield part;
  }
}
