/** Processes in the hosts of a lab: start them, know when they are ready, watch them end. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { NattoError } from "../errors.ts";
import { runCommand } from "../run-command.ts";
import type { LabProcessSpec } from "./lab-file.ts";
import { identifyChild, isAlive, type ProcessId, signalProcess } from "./process-table.ts";
import { logFiles, type ProcessRecord, type RunFolder, recordProcess, stateFolder } from "./run-folder.ts";
import type { LabHost } from "./topology.ts";

export interface ProcessExit {
  /** Both null when it ended in another way than can be known: it was started by another process. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface LabProcess {
  readonly host: string;
  readonly name: string;
  readonly pid: number;
  /** Its standard input, when it was started with `stdin: "pipe"` by this process. */
  readonly stdin: Writable | undefined;
  /** Files that its output goes to. */
  readonly logs: { readonly stdout: string; readonly stderr: string };
  alive(): boolean;
  /** Sends a signal, TERM by default; false when the process is gone. */
  kill(signal?: NodeJS.Signals): boolean;
  /** Resolves when it has ended. */
  exited(): Promise<ProcessExit>;
  /** Everything that it has written so far to its standard output, or error. */
  stdout(): Promise<string>;
  stderr(): Promise<string>;
}

export interface SpawnOptions {
  readonly name: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: "ignore" | "pipe";
}

const BIN_FOLDER = join(import.meta.dirname, "../../bin");

/** The environment of whatever runs in a host: `natto` and `node` are this Natto and this Node. */
export function hostEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const path = [BIN_FOLDER, dirname(process.execPath), process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin"];
  return { NATTO_NODE: process.execPath, PATH: path.join(":"), ...extra };
}

/**
 * Puts a command into a host. Not `ip netns exec`: that also gives a new view of /sys, in which no BPF file system is seen.
 */
export function inNamespace(namespace: string, argv: readonly string[]): string[] {
  return ["nsenter", `--net=/run/netns/${namespace}`, "--", ...argv];
}

/** Starts a process that lives on when this one ends, and records it. Throws `AlreadyExists` when one of that name is running. */
export async function startProcess(
  folder: RunFolder,
  host: LabHost,
  argv: readonly string[],
  options: SpawnOptions,
): Promise<LabProcess> {
  const { name, env, stdin = "ignore" } = options;
  const logs = logFiles(folder, host.name, name);
  const cwd = stateFolder(folder, host.name);
  // An agent that was cleaned up has taken it along.
  mkdirSync(cwd, { recursive: true });
  const stdout = openSync(logs.stdout, "w");
  const stderr = openSync(logs.stderr, "w");
  const [program = "", ...args] = inNamespace(host.namespace, argv);
  const child = spawn(program, args, {
    cwd,
    detached: true,
    env: { ...process.env, ...hostEnvironment(env) },
    stdio: [stdin, stdout, stderr],
  });
  closeSync(stdout);
  closeSync(stderr);
  const exited = exitOf(child);
  const id = child.pid === undefined ? undefined : identifyChild(child.pid);
  if (!id) {
    exited.catch(() => {});
    throw new NattoError(
      "Environment",
      `cannot start ${argv.join(" ")} in ${host.name}: nsenter does not run; install util-linux`,
    );
  }
  child.unref();
  await recordProcess(folder, { ...id, host: host.name, name, command: argv });
  return {
    ...handle(folder, host.name, name, id),
    stdin: child.stdin ?? undefined,
    exited: () => {
      child.ref();
      return exited;
    },
  };
}

function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve({ code, signal }));
  });
}

/** A process that was started earlier, perhaps by another process. */
export function adoptProcess(folder: RunFolder, record: ProcessRecord): LabProcess {
  return handle(folder, record.host, record.name, record);
}

function handle(folder: RunFolder, host: string, name: string, id: ProcessId): LabProcess {
  const logs = logFiles(folder, host, name);
  return {
    host,
    name,
    pid: id.pid,
    stdin: undefined,
    logs,
    alive: () => isAlive(id),
    kill: (signal = "SIGTERM") => signalProcess(id, signal),
    exited: async () => {
      while (isAlive(id)) await delay(10);
      return { code: null, signal: null };
    },
    stdout: () => readFile(logs.stdout, "utf8"),
    stderr: () => readFile(logs.stderr, "utf8"),
  };
}

type ReadyCheck = NonNullable<LabProcessSpec["ready"]>;

/** Waits until a process is ready. Throws `Environment`, with its last words, when it ends before or takes too long. */
export async function waitReady(
  host: LabHost,
  started: LabProcess,
  check: ReadyCheck,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + check.timeoutSeconds * 1000;
  for (;;) {
    signal?.throwIfAborted();
    if (await isReady(host, started, check)) return;
    const problem = !started.alive()
      ? "ended before it was ready"
      : performance.now() > deadline
        ? `was not ready within ${check.timeoutSeconds} s`
        : undefined;
    if (problem)
      throw new NattoError(
        "Environment",
        `${host.name}: process ${started.name} ${problem}; ${await lastWords(started)}`,
      );
    await delay(20);
  }
}

async function isReady(host: LabHost, started: LabProcess, check: ReadyCheck): Promise<boolean> {
  if (!started.alive()) return false;
  if (check.tcp !== undefined && !listens(started.pid, "tcp", check.tcp)) return false;
  if (check.udp !== undefined && !listens(started.pid, "udp", check.udp)) return false;
  if (check.log !== undefined) {
    const output = (await started.stdout()) + (await started.stderr());
    if (!output.includes(check.log)) return false;
  }
  if (check.command === undefined) return true;
  const result = await runCommand(inNamespace(host.namespace, check.command), {
    env: hostEnvironment(),
    timeoutMs: 5_000,
  });
  return result.code === 0;
}

/** Whether anybody in the network namespace of a process listens on a port (proc_net_tcp: state 0A is LISTEN, 07 an unconnected UDP socket). */
function listens(pid: number, protocol: "tcp" | "udp", port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const state = protocol === "tcp" ? "0A" : "07";
  return [protocol, `${protocol}6`].some((name) => {
    let table: string;
    try {
      table = readFileSync(`/proc/${pid}/net/${name}`, "utf8");
    } catch {
      return false;
    }
    return table.split("\n").some((line) => {
      const [, local, , found] = line.trim().split(/\s+/);
      return found === state && local?.endsWith(suffix);
    });
  });
}

async function lastWords(ended: LabProcess): Promise<string> {
  const words = ((await ended.stderr()) + (await ended.stdout())).trim().slice(-2000);
  return words === "" ? "it wrote nothing" : `its last words: ${words}`;
}
