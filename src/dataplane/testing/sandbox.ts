/**
 * A private network and mount namespace for a test process's main thread, with a BPF file system of its own. It vanishes with the
 * process: nothing has to be cleaned up, and nothing outside can be touched by accident.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { NattoError } from "../../errors.ts";

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
  const libc = koffi.load("libc.so.6");
  const unshare = libc.func("int unshare(int flags)") as (flags: number) => number;
  if (unshare(CLONE_NEWNET | CLONE_NEWNS) !== 0) {
    throw new NattoError(
      "Environment",
      `cannot make namespaces (errno ${koffi.errno()}); run as root in a kernel that has them`,
    );
  }
  execFileSync("mount", ["--make-rprivate", "/"]);
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
