/**
 * Runs in an endpoint and probes an echo server over many flows at once:
 *
 *     node prober.ts --server ADDRESS [--port 7007] [--udp FLOWS] [--tcp FLOWS] [--rate PACKETS] [--fresh FLOWS]
 *                    [--local-port FIRST] [--bytes N] [--duration SECONDS] [--drain MS] [--until-eof]
 *
 * `--rate` is per flow and second; `--fresh` is how many new flows a second are tried with one packet each. Flow i has local port FIRST + i
 * if that is given (UDP and TCP alike). Ends on SIGTERM, after the duration, or with `--until-eof` at the end of its standard input.
 *
 * Writes JSON lines: `{"event":"started"}`, an AnsweredEvent once every flow was answered, and at the end a ProberReport.
 */
import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { type FreshFlows, type FreshReport, freshFlows } from "./fresh-flows.ts";
import { emit } from "./json-lines.ts";
import { openTcpFlow, type TcpFlow, type TcpFlowReport } from "./tcp-flows.ts";
import { openUdpFlow, type UdpFlow, type UdpFlowReport } from "./udp-flows.ts";

export interface ProberReport {
  readonly event: "report";
  /** Milliseconds since 1970, of sending. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly udp: readonly UdpFlowReport[];
  readonly tcp: readonly TcpFlowReport[];
  readonly fresh: FreshReport | undefined;
}

/** Every flow has been answered; where each UDP flow comes from. */
export interface AnsweredEvent {
  readonly event: "answered";
  readonly udp: readonly AnsweredFlow[];
}

export interface AnsweredFlow {
  readonly flow: number;
  readonly localPort: number;
  /** The address:port that the server saw. */
  readonly outside: string;
}

/** Monotonic, and comparable between the processes of one machine. */
const now = () => performance.timeOrigin + performance.now();
const TICK_MS = 4;

interface Arguments {
  readonly server: string;
  readonly port: number;
  readonly udp: number;
  readonly tcp: number;
  readonly rate: number;
  readonly fresh: number;
  readonly localPort: number | undefined;
  readonly bytes: number;
  readonly durationMs: number | undefined;
  readonly drainMs: number;
  readonly untilEof: boolean;
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      server: { type: "string" },
      port: { type: "string", default: "7007" },
      udp: { type: "string", default: "0" },
      tcp: { type: "string", default: "0" },
      rate: { type: "string", default: "10" },
      fresh: { type: "string", default: "0" },
      "local-port": { type: "string" },
      bytes: { type: "string", default: "64" },
      duration: { type: "string" },
      drain: { type: "string", default: "1000" },
      "until-eof": { type: "boolean", default: false },
    },
  });
  if (values.server === undefined) throw new Error("--server ADDRESS is missing");
  const numberOr = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const duration = numberOr(values.duration);
  return {
    server: values.server,
    port: Number(values.port),
    udp: Number(values.udp),
    tcp: Number(values.tcp),
    rate: Number(values.rate),
    fresh: Number(values.fresh),
    localPort: numberOr(values["local-port"]),
    bytes: Number(values.bytes),
    durationMs: duration === undefined ? undefined : duration * 1000,
    drainMs: Number(values.drain),
    untilEof: values["until-eof"],
  };
}

/** Calls each of the senders at its rate, evenly spread over time, until told to stop. What is late is sent at once, not left out. */
function pace(senders: readonly { readonly perSecond: number; send(): void }[]): { stop(): void } {
  const start = performance.now();
  const due = senders.map(({ perSecond }, i) => start + ((i / senders.length) * 1000) / perSecond);
  const timer = setInterval(() => {
    const time = performance.now();
    for (const [i, { perSecond, send }] of senders.entries()) {
      while ((due[i] ?? Number.POSITIVE_INFINITY) <= time) {
        due[i] = (due[i] ?? 0) + 1000 / perSecond;
        send();
      }
    }
  }, TICK_MS);
  return { stop: () => clearInterval(timer) };
}

function untilToldToStop({ durationMs, untilEof }: Arguments): Promise<void> {
  return new Promise((resolve) => {
    process.on("SIGTERM", resolve).on("SIGINT", resolve);
    if (durationMs !== undefined) setTimeout(resolve, durationMs);
    if (untilEof) process.stdin.on("end", resolve).on("error", resolve).resume();
  });
}

function announceAnswered(udp: readonly UdpFlow[], tcp: readonly TcpFlow[]): void {
  const timer = setInterval(() => {
    if (![...udp, ...tcp].every((flow) => flow.answered())) return;
    clearInterval(timer);
    const ends = udp.map((flow) => flow.report());
    const event: AnsweredEvent = {
      event: "answered",
      udp: ends.map(({ flow, localPort, outside }) => ({ flow, localPort, outside: outside[0] ?? "" })),
    };
    emit({ ...event });
  }, 10);
  timer.unref();
}

async function main(): Promise<void> {
  const args = readArguments();
  const run = randomBytes(4).readUInt32BE();
  const { server, port, bytes } = args;
  const told = untilToldToStop(args);
  const common = (flow: number) => {
    const localPort = args.localPort === undefined ? undefined : args.localPort + flow;
    return { server, port, flow, localPort, now };
  };
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
  const udp = await Promise.all(numbers(args.udp).map((i) => openUdpFlow({ ...common(i), run, bytes })));
  const tcp = numbers(args.tcp).map((i) => openTcpFlow(common(i)));
  const fresh: FreshFlows | undefined = args.fresh > 0 ? freshFlows(server, port, run, now) : undefined;
  const startedAt = now();
  emit({ event: "started", run, udp: udp.length, tcp: tcp.length });
  announceAnswered(udp, tcp);
  const pacing = pace([
    ...[...udp, ...tcp].map((flow) => ({ perSecond: args.rate, send: flow.send })),
    ...(fresh ? [{ perSecond: args.fresh, send: fresh.attempt }] : []),
  ]);
  await told;
  pacing.stop();
  const endedAt = now();
  await Promise.all([...udp, ...(fresh ? [fresh] : [])].map((flows) => flows.settle(args.drainMs)));
  const report: ProberReport = {
    event: "report",
    startedAt,
    endedAt,
    udp: udp.map((flow) => flow.report()),
    tcp: tcp.map((flow) => flow.report()),
    fresh: fresh?.report(),
  };
  emit({ ...report });
  for (const flow of [...udp, ...tcp]) flow.close();
  fresh?.close();
  process.exit(0);
}

await main();
