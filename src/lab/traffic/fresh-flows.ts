/** The prober's fresh flows: one packet each from a new socket, to learn when new flows are served and when not. */
import { createSocket } from "node:dgram";
import type { Gap } from "./flow-tally.ts";
import { decodeProbe, encodeRequest } from "./probe-packet.ts";

export interface FreshReport {
  readonly attempts: number;
  readonly answered: number;
  /** The longest time between the first attempt, or an attempt that was answered, and the next such attempt. */
  readonly longestGap: Gap | undefined;
  /** When the attempts were made that have no answer; milliseconds since 1970, at most a thousand of them. */
  readonly lostAt: readonly number[];
}

export interface FreshFlows {
  attempt(): void;
  /** Resolves when each attempt has its answer or has waited long enough, at the latest after `patienceMs`. */
  settle(patienceMs: number): Promise<void>;
  report(): FreshReport;
  close(): void;
}

/** How long an attempt may wait for its answer. */
const PATIENCE_MS = 1_000;
/** Flow numbers that no lasting flow has. */
const FIRST_FLOW = 1 << 24;
const MAX_LISTED = 1_000;

export function freshFlows(server: string, port: number, run: number, now: () => number): FreshFlows {
  const open = new Set<() => void>();
  let settled = () => {};
  const attempted: number[] = [];
  const served = new Set<number>();
  return {
    attempt: () => {
      const attempt = attempted.length;
      const flow = FIRST_FLOW + attempt;
      attempted.push(now());
      const socket = createSocket("udp4");
      const end = () => {
        if (!open.delete(end)) return;
        clearTimeout(timer);
        socket.close();
        if (open.size === 0) settled();
      };
      const timer = setTimeout(end, PATIENCE_MS);
      open.add(end);
      socket.on("error", end);
      socket.on("message", (packet) => {
        if (decodeProbe(packet)?.flow !== flow) return;
        served.add(attempt);
        end();
      });
      socket.send(encodeRequest({ type: "probe", run, flow, sequence: 0 }), port, server, (error) => {
        if (error) end();
      });
    },
    settle: (patienceMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, patienceMs);
        settled = () => {
          clearTimeout(timer);
          resolve();
        };
        if (open.size === 0) settled();
      }),
    report: () => ({
      attempts: attempted.length,
      answered: served.size,
      longestGap: longestBetween(attempted, served),
      lostAt: attempted.filter((_, attempt) => !served.has(attempt)).slice(0, MAX_LISTED),
    }),
    close: () => {
      for (const end of open) end();
    },
  };
}

function longestBetween(attempted: readonly number[], served: ReadonlySet<number>): Gap | undefined {
  const first = attempted[0];
  const last = attempted.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const times = [first, ...attempted.filter((_, attempt) => served.has(attempt)), last];
  let longest: Gap = { ms: 0, from: first, to: first };
  for (const [i, to] of times.entries()) {
    const from = times[i - 1] ?? to;
    if (to - from > longest.ms) longest = { ms: to - from, from, to };
  }
  return longest;
}
