/** The beginnings and ends of sessions that the program has written down. */
import { formatAddress } from "../model/ipv4.ts";
import { swap16, swap32 } from "./btf.ts";
import type { Session } from "./dataplane.ts";
import type { KernelMaps } from "./kernel-maps.ts";
import type { Codecs, LogRow } from "./layouts.ts";
import * as bpf from "./libbpf.ts";
import { protocolOf } from "./session-list.ts";

export interface SessionEvent extends Pick<Session, "protocol" | "inside" | "public" | "remote"> {
  readonly event: "begin" | "end";
  /** Seconds ago. */
  readonly age: number;
}

export interface SessionEvents {
  /** What has happened since the last call, oldest first. */
  read(): readonly SessionEvent[];
  close(): void;
}

/** Starts to read. There must be one reader at a time. */
export function openSessionEvents(maps: KernelMaps, codecs: Codecs): SessionEvents {
  const ring = bpf.openRingBuffer(maps.session_log.fd);
  return {
    read() {
      const now = process.hrtime.bigint();
      const found: SessionEvent[] = [];
      ring.drain((entry) => found.push(eventOf(codecs.session_log_entry.decode(entry), now)));
      return found;
    },
    close: () => ring.close(),
  };
}

function eventOf(row: LogRow, now: bigint): SessionEvent {
  const end = (address: number, port: number) => ({
    address: formatAddress(swap32(address)),
    port: swap16(port),
  });
  return {
    event: row.event === 0 ? "begin" : "end",
    age: Math.max(0, Number(now - row.time) / 1e9),
    protocol: protocolOf(row.protocol),
    inside: end(row.inside_address, row.inside_port),
    public: end(row.public_address, row.public_port),
    remote: end(row.remote_address, row.remote_port),
  };
}
