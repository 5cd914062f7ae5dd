/** Runs programs of the system to their end. */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { NattoError } from "./errors.ts";

export interface CommandOptions {
  /** Given to the program on its standard input; without it there is nothing to read. */
  readonly input?: string | Uint8Array;
  /** After this the program and its children are killed and the call fails. Default 30,000. */
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** As in a shell: 128 + the signal's number when a signal ended it. */
  readonly code: number;
}

const PACKAGES: Readonly<Record<string, string>> = {
  ip: "iproute2",
  ethtool: "ethtool",
  nsenter: "util-linux",
  mount: "mount",
  umount: "mount",
  bird: "bird2",
};

/**
 * Runs a program and returns what it wrote and its exit code, whatever that is. It runs in a process group of its own, so that
 * Ctrl-C reaches the lab and not what the lab is just running. Throws `Environment` when there is no such program, `Unavailable` when
 * it took too long.
 */
export async function runCommand(
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const [program = "", ...args] = argv;
  const { input, timeoutMs = 30_000, env } = options;
  const child = spawn(program, args, {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    env: env ? { ...process.env, ...env } : process.env,
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program that ends without reading its input breaks the pipe; its exit code tells what matters.
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    if (child.pid !== undefined) killGroup(child.pid);
    // Whoever left the group may still hold the pipes open.
    child.stdout.destroy();
    child.stderr.destroy();
  }, timeoutMs);
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.on("error", (cause) => reject(cannotStart(program, cause)));
      child.on("close", (exit, signal) => resolve(exit ?? 128 + signalNumber(signal)));
    });
    if (late) {
      throw new NattoError(
        "Unavailable",
        `${argv.join(" ")} did not end within ${timeoutMs} ms and was killed; its last words: ${lastWords(stderr)}`,
      );
    }
    return { stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), code };
  } finally {
    clearTimeout(timer);
  }
}

/** The same for programs that must succeed: anything but exit code 0 is an `Environment` error that says what was being done. */
export async function runOrThrow(purpose: string, argv: readonly string[], input?: string): Promise<string> {
  const result = await runCommand(argv, input === undefined ? {} : { input });
  if (result.code === 0) return result.stdout;
  const words = (result.stderr || result.stdout).trim();
  throw new NattoError(
    "Environment",
    `cannot ${purpose}: ${argv.join(" ")} exited with ${result.code}: ${words}`,
  );
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself in this moment.
  }
}

function cannotStart(program: string, cause: NodeJS.ErrnoException): NattoError {
  const from = PACKAGES[program] === undefined ? "" : ` (Debian package ${PACKAGES[program]})`;
  return new NattoError(
    "Environment",
    `cannot run ${program}: ${cause.code ?? cause.message}; install it${from} or correct its name`,
    [],
    cause,
  );
}

function lastWords(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString().trim().slice(-500) || "(none)";
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : constants.signals[signal];
}
