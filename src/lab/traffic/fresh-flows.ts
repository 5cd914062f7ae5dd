/** The prober's fresh flows: one packet each from a new socket, to learn when new flows are served and when not. */
import { createSocket } from "node:dgram";
import type { Gap } from "./flow-tally.ts";
import { decodeProbe, encodeRequest } from "./probe-packet.ts";

export interface FreshReport {
  readonly attempts: number;
  readonly answered: number;
  /** The longest time between the first attempt, or an attempt that was answered, and the next such attempt. */
  readonly longestGap: Gap | undefined;
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

export function freshFlows(server: string, port: number, run: number, now: () => number): FreshFlows {
  const open = new Set<() => void>();
  let settled = () => {};
  let attempts = 0;
  let first: number | undefined;
  let last: number | undefined;
  const served: number[] = [];
  return {
    attempt: () => {
      const flow = FIRST_FLOW + attempts++;
      const at = now();
      first ??= at;
      last = at;
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
        served.push(at);
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
    report: () => ({ attempts, answered: served.length, longestGap: longestBetween(first, served, last) }),
    close: () => {
      for (const end of open) end();
    },
  };
}

function longestBetween(
  first: number | undefined,
  served: readonly number[],
  last: number | undefined,
): Gap | undefined {
  if (first === undefined || last === undefined) return undefined;
  const times = [first, ...served.toSorted((a, b) => a - b), last];
  let longest: Gap = { ms: 0, from: first, to: first };
  for (const [i, to] of times.entries()) {
    const from = times[i - 1] ?? to;
    if (to - from > longest.ms) longest = { ms: to - from, from, to };
  }
  return longest;
}
