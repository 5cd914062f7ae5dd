/** Servers that tests start as processes of their own, on ports of their own: killed, paused, started again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";

export interface ServerProcess {
  pid(): number | undefined;
  kill(): Promise<void>;
  /** Stops the process without ending it; it still accepts connections and never answers. */
  pause(): void;
  resume(): void;
  /** Starts a process that was killed, with the data that it had. */
  restart(): void;
  /** The end of what it has written. */
  lastWords(): Promise<string>;
}

/** Starts a program; what it writes goes to `logFile`. It does not outlive the tests, however they end. */
export function startServerProcess(argv: readonly string[], logFile: string): ServerProcess {
  let child: ChildProcess | undefined;
  function start(): void {
    const log = openSync(logFile, "a");
    child = spawn("setpriv", ["--pdeathsig", "KILL", ...argv], { stdio: ["ignore", log, log] });
  }
  start();
  return {
    pid: () => child?.pid,
    kill: async () => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, "close");
      child.kill("SIGKILL");
      await closed;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    restart: start,
    lastWords: async () => (await readFile(logFile, "utf8")).slice(-2_000),
  };
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
