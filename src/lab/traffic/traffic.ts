/** The traffic programs as tests and the demo use them: started in a host of a lab, their reports as values. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { NattoError } from "../../errors.ts";
import type { Lab } from "../lab.ts";
import { type LabProcess, waitReady } from "../lab-process.ts";
import type { ServerFlow } from "./echo-server.ts";
import type { FreshReport } from "./fresh-flows.ts";
import type { HttpResult } from "./http-client.ts";
import { parseLines } from "./json-lines.ts";
import type { AnsweredEvent, AnsweredFlow, ProberReport } from "./prober.ts";

const program = (name: string) => ["node", join(import.meta.dirname, `${name}.ts`)];

/** Starts an echo server on the standard ports (UDP and TCP 7007, HTTP 80) and waits until it listens. */
export async function startEchoServer(lab: Lab, host: string, name = "echo"): Promise<LabProcess> {
  const server = await lab.spawn(host, program("echo-server"), { name });
  await waitReady(lab.host(host), server, { udp: 7007, tcp: 80, timeoutSeconds: 15 });
  return server;
}

/** All flows of probes that the echo server in a host has seen. */
export async function serverFlows(lab: Lab, host: string): Promise<readonly ServerFlow[]> {
  const script = 'process.stdout.write(await (await fetch("http://127.0.0.1/flows")).text())';
  const { stdout, stderr, code } = await lab.exec(host, ["node", "--input-type=module", "-e", script]);
  if (code === 0) return JSON.parse(stdout) as ServerFlow[];
  throw new NattoError("Unavailable", `no echo server answers in ${host}: ${stderr.trim().slice(-500)}`);
}

export interface ProberOptions {
  readonly server: string;
  readonly port?: number;
  /** Flows. */
  readonly udp?: number;
  readonly tcp?: number;
  /** Packets per flow and second. Default 10. */
  readonly rate?: number;
  /** New flows a second. Default 0. */
  readonly fresh?: number;
  /** Of the first flow; the others follow. */
  readonly localPort?: number;
  /** Of a UDP packet's payload. */
  readonly bytes?: number;
  /** How long to ask for the server's final counts. Default 1000. */
  readonly drainMs?: number;
}

export interface Prober {
  readonly process: LabProcess;
  /**
   * Resolves when every flow has been answered at least once, to the UDP flows; throws `Unavailable` after `timeoutMs`, by default
   * 10,000.
   */
  answered(timeoutMs?: number): Promise<readonly AnsweredFlow[]>;
  /** Ends the sending and returns the report. */
  stop(): Promise<ProberReport>;
}

/** Starts a prober in a host and waits until it sends. */
export async function startProber(
  lab: Lab,
  host: string,
  options: ProberOptions,
  name = "prober",
): Promise<Prober> {
  const { server, port, udp, tcp, rate, fresh, localPort, bytes, drainMs } = options;
  const numbers = { port, udp, tcp, rate, fresh, "local-port": localPort, bytes, drain: drainMs };
  const args = Object.entries(numbers).flatMap(([key, value]) =>
    value === undefined ? [] : [`--${key}`, String(value)],
  );
  const process = await lab.spawn(host, [...program("prober"), "--server", server, ...args], { name });
  await waitEvent(process, "started", 10_000);
  return {
    process,
    answered: async (timeoutMs = 10_000) => {
      return (await waitEvent<AnsweredEvent>(process, "answered", timeoutMs)).udp;
    },
    stop: async () => {
      process.kill("SIGTERM");
      const report = await waitEvent<ProberReport>(process, "report", 5_000 + (drainMs ?? 1_000));
      await process.exited();
      return report;
    },
  };
}

/** Waits for a line of a traffic program's output. Throws `Unavailable`, with what it said on its standard error. */
async function waitEvent<T extends { readonly event: string }>(
  process: LabProcess,
  event: T["event"],
  timeoutMs: number,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const alive = process.alive();
    const found = parseLines<T>(await process.stdout()).find((line) => line.event === event);
    if (found) return found;
    if (!alive || performance.now() > deadline) {
      const problem = alive
        ? `did not say '${event}' within ${timeoutMs} ms`
        : `ended without saying '${event}'`;
      const words = (await process.stderr()).trim().slice(-500);
      throw new NattoError(
        "Unavailable",
        `${process.name} in ${process.host} ${problem}; ${words || "no error output"}`,
      );
    }
    await delay(10);
  }
}

export interface HttpOptions {
  readonly urls: readonly string[];
  /** Rounds. */
  readonly count?: number;
  readonly concurrency?: number;
  readonly localPort?: number;
  readonly timeoutMs?: number;
  /** Posts so many bytes instead of getting. */
  readonly upload?: number;
}

/** Makes HTTP requests in a host and returns their results, failed ones too, in the order in which they ended. */
export async function httpRequests(
  lab: Lab,
  host: string,
  options: HttpOptions,
): Promise<readonly HttpResult[]> {
  const { urls, count = 1, concurrency = 1, localPort, timeoutMs = 30_000, upload } = options;
  const numbers = { count, concurrency, "local-port": localPort, timeout: timeoutMs, upload };
  const args = Object.entries(numbers).flatMap(([key, value]) =>
    value === undefined ? [] : [`--${key}`, String(value)],
  );
  const rounds = Math.ceil((urls.length * count) / concurrency);
  const { stdout, stderr } = await lab.exec(host, [...program("http-client"), ...args, ...urls], {
    timeoutMs: 10_000 + rounds * timeoutMs,
  });
  const results = parseLines<HttpResult>(stdout);
  if (results.length === urls.length * count) return results;
  throw new NattoError("Unavailable", `the HTTP client in ${host} ended early; ${stderr.trim().slice(-500)}`);
}

/** Begins many UDP flows to an echo server at once; resolves to how many were answered. */
export async function newFlows(lab: Lab, host: string, server: string, count: number): Promise<number> {
  const argv = [...program("new-flows"), "--server", server, "--count", String(count)];
  const report = await lastEvent<FreshReport & { readonly event: "report" }>(lab, host, argv);
  return report.answered;
}

/** The outside address:port of a local UDP port, as an echo server sees it. */
export async function mappedAddress(
  lab: Lab,
  host: string,
  localPort: number,
  server: string,
): Promise<string> {
  const argv = [...program("hole-puncher"), "--local", String(localPort), "--server", server];
  return (await lastEvent<{ readonly event: "mapped"; readonly outside: string }>(lab, host, argv)).outside;
}

/** Punches a hole to a peer that does the same; resolves to where the peer was heard from. */
export async function punchHole(lab: Lab, host: string, localPort: number, peer: string): Promise<string> {
  const argv = [...program("hole-puncher"), "--local", String(localPort), "--peer", peer];
  return (await lastEvent<{ readonly event: "open"; readonly from: string }>(lab, host, argv)).from;
}

/** The last event that a traffic program writes that runs to its end. */
async function lastEvent<T extends { readonly event: string }>(
  lab: Lab,
  host: string,
  argv: readonly string[],
): Promise<T> {
  const { code, stdout, stderr } = await lab.exec(host, argv);
  const event = parseLines<T>(stdout).at(-1);
  if (code === 0 && event) return event;
  throw new NattoError(
    "Unavailable",
    `${host}: ${argv.slice(1).join(" ")}: ${stderr.trim() || "nothing heard"}`,
  );
}
