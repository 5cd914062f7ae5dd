/** The prober's UDP flows: each a socket of its own that sends numbered packets to the echo server. */
import { createSocket, type Socket } from "node:dgram";
import { setTimeout as delay } from "node:timers/promises";
import { type FlowCounts, type FlowTally, flowTally, type Gap } from "./flow-tally.ts";
import { decodeProbe, encodeRequest } from "./probe-packet.ts";

export interface UdpFlowReport extends FlowCounts {
  readonly flow: number;
  readonly localPort: number;
  /** All address:port that the server saw it come from, in the order of their first answers. */
  readonly outside: readonly string[];
  /** The longest time without an answer; while all is well, the time between two packets. Milliseconds since 1970. */
  readonly longestGap: Gap | undefined;
  /** When packets were sent that were never answered; milliseconds since 1970, at most a thousand of them. */
  readonly lostAt: readonly number[];
  /** Sends that this host itself refused, and the last reason. They count as sent. */
  readonly sendErrors: number;
  readonly lastError: string | undefined;
}

export interface UdpFlow {
  readonly answered: () => boolean;
  send(): void;
  /** Asks the server for its final count until it answers, at most `patienceMs`. */
  settle(patienceMs: number): Promise<void>;
  report(): UdpFlowReport;
  close(): void;
}

export interface FlowOptions {
  readonly server: string;
  readonly port: number;
  /** The prober's number. */
  readonly run: number;
  readonly flow: number;
  readonly localPort: number | undefined;
  /** Of a packet. */
  readonly bytes: number;
  readonly now: () => number;
}

const QUERY_INTERVAL_MS = 50;

export async function openUdpFlow(options: FlowOptions): Promise<UdpFlow> {
  const { run, flow, bytes, now } = options;
  const tally = flowTally();
  const outside = new Set<string>();
  let settled = false;
  let sendErrors = 0;
  let lastError: string | undefined;
  const failed = (error: Error | null) => {
    if (!error) return;
    sendErrors++;
    lastError = error.message;
  };
  const socket = await connected(options);
  socket.on("error", failed);
  socket.on("message", (packet) => {
    const answer = decodeProbe(packet);
    if (answer?.run !== run || answer.flow !== flow) return;
    if (answer.type === "query-answer") {
      settled = true;
      tally.settle(answer.received);
    } else if (answer.type === "probe-answer") {
      outside.add(answer.outside);
      tally.answer(answer.sequence, answer.received, now());
    }
  });
  return {
    answered: () => outside.size > 0,
    send: () => {
      const sequence = tally.send(now());
      socket.send(encodeRequest({ type: "probe", run, flow, sequence }, bytes), failed);
    },
    settle: async (patienceMs) => {
      const deadline = performance.now() + patienceMs;
      while (!settled && !allAnswered(tally) && performance.now() < deadline) {
        socket.send(encodeRequest({ type: "query", run, flow, sequence: 0 }), () => {});
        await delay(QUERY_INTERVAL_MS);
      }
    },
    report: () => ({
      flow,
      localPort: socket.address().port,
      ...tally.counts(),
      outside: [...outside],
      longestGap: tally.longestGap(),
      lostAt: tally.lostAt(),
      sendErrors,
      lastError,
    }),
    close: () => socket.close(),
  };
}

function allAnswered(tally: FlowTally): boolean {
  const { sent, answered } = tally.counts();
  return sent === answered;
}

async function connected({ server, port, localPort }: FlowOptions): Promise<Socket> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(localPort ?? 0, () => resolve());
  });
  await new Promise<void>((resolve) => socket.connect(port, server, resolve));
  socket.removeAllListeners("error");
  return socket;
}
