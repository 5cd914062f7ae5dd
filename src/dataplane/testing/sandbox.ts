/**
 * A private network and mount namespace for a test process's main thread, with a BPF file system of its own. It vanishes with the
 * process: nothing has to be cleaned up, and nothing outside can be touched by accident.
 */
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { NattoError } from "../../errors.ts";

const libc = koffi.load("libc.so.6");
const unshare = libc.func("int unshare(int flags)") as (flags: number) => number;
const setns = libc.func("int setns(int fd, int type)") as (fd: number, type: number) => number;

const CLONE_NEWNS = 0x00020000;
const CLONE_NEWNET = 0x40000000;

export interface Sandbox {
  /** A folder on the BPF file system; no dot is in its path. */
  readonly bpffs: string;
  /** An empty folder for state. */
  readonly state: string;
}

/** Runs `ip` on many commands at once. */
export function ip(commands: readonly string[]): void {
  execFileSync("ip", ["-batch", "-"], { input: commands.join("\n"), stdio: ["pipe", "ignore", "inherit"] });
}

/** Moves this thread (and what it starts from now on) into new namespaces. */
export function enterSandbox(): Sandbox {
  if (process.getuid?.() !== 0) {
    throw new NattoError(
      "Environment",
      "this test makes network namespaces and loads BPF programs; run it as root",
    );
  }
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) !== 0) {
    throw new NattoError(
      "Environment",
      `cannot make namespaces (errno ${koffi.errno()}); run as root in a kernel that has them`,
    );
  }
  execFileSync("mount", ["--make-rprivate", "/"]);
  // Named network namespaces that are made in here are to vanish too.
  mkdirSync("/run/netns", { recursive: true });
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run/netns"]);
  const folder = mkdtempSync(join(tmpdir(), "natto-test-"));
  const bpffs = join(folder, "bpf");
  const state = join(folder, "state");
  for (const place of [bpffs, state]) mkdirSync(place);
  execFileSync("mount", ["-t", "bpf", "bpf", bpffs]);
  process.on("exit", () => {
    execFileSync("umount", ["-l", bpffs]);
    rmSync(folder, { recursive: true, force: true });
  });
  ip(["link set lo up"]);
  return { bpffs, state };
}

function enter(path: string): void {
  const fd = openSync(path, "r");
  const failed = setns(fd, CLONE_NEWNET) !== 0;
  closeSync(fd);
  if (failed)
    throw new NattoError(
      "Environment",
      `cannot enter the network namespace ${path} (errno ${koffi.errno()})`,
    );
}

/** Does something in a named network namespace (made by `ip netns add` in the sandbox), and comes back. Not for asynchronous work. */
export function within<T>(namespace: string, act: () => T): T {
  const home = `/proc/self/task/${process.pid}/ns/net`;
  const back = openSync(home, "r");
  try {
    enter(`/run/netns/${namespace}`);
    return act();
  } finally {
    setns(back, CLONE_NEWNET);
    closeSync(back);
  }
}
