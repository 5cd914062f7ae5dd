/** A machine for tests that want a real systemd: an init with namespaces and a file system of its own. Needs root. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type CommandOptions, type CommandResult, runCommand } from "../../src/run-command.ts";

export interface Machine extends AsyncDisposable {
  /** Runs a command in the machine. */
  exec(argv: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Runs a shell script that must succeed; returns its output. */
  sh(script: string): Promise<string>;
}

const NATTO = join(import.meta.dirname, "../..");
const BOOT_MS = 60_000;
const CONTROL_GROUPS = "/sys/fs/cgroup";

/** Boots a machine in the network namespace of a file, such as that of a lab's host, or in an empty one. */
export async function bootMachine(name: string, network?: string): Promise<Machine> {
  assert(
    existsSync("/usr/lib/systemd/systemd"),
    "there is no systemd; install it with 'apt-get install systemd'",
  );
  const root = await mkdtemp(join(tmpdir(), "natto-machine-"));
  const groups = makeControlGroups(`natto-${name}-${process.pid}`);
  const enter = groups.map((group) => `echo $$ > ${group}/cgroup.procs`).join(" && ");
  const net = network === undefined ? [] : ["nsenter", `--net=${network}`];
  const namespaces = [
    "--pid",
    "--mount",
    "--uts",
    "--ipc",
    "--cgroup",
    ...(network === undefined ? ["--net"] : []),
  ];
  const boot = [
    "unshare",
    ...namespaces,
    "--fork",
    "--kill-child",
    "sh",
    join(import.meta.dirname, "boot.sh"),
    name,
    root,
    NATTO,
  ];
  const outer = spawn("sh", ["-c", `${enter} && exec "$@"`, "sh", ...net, ...boot], { stdio: "ignore" });
  process.once("exit", () => outer.kill("SIGKILL"));
  const ended = new Promise((resolve) => outer.once("exit", resolve));
  const close = async () => {
    outer.kill("SIGKILL");
    await ended;
    await removeControlGroups(groups);
    await rm(root, { recursive: true });
  };
  try {
    const init = await initOf(outer.pid);
    const exec: Machine["exec"] = (argv, options = {}) =>
      runCommand(["nsenter", "--target", String(init), "--all", "--", ...argv], options);
    await untilRunning(exec);
    return {
      exec,
      sh: async (script) => {
        const { code, stdout, stderr } = await exec(["sh", "-eu"], { input: script, timeoutMs: 120_000 });
        if (code === 0) return stdout;
        const journal = (await exec(["journalctl", "--no-pager", "-n", "20"])).stdout;
        return assert.fail(`${name}: exit ${code} of\n${script}\n${stdout}\n${stderr}\n${journal}`);
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** A group for the machine in the one hierarchy, or in each of several on older systems; systemd leaves `cpuset` of those alone. */
function makeControlGroups(name: string): readonly string[] {
  const hierarchies = [".", ...readdirSync(CONTROL_GROUPS)].filter(
    (path) => path !== "cpuset" && existsSync(join(CONTROL_GROUPS, path, "cgroup.procs")),
  );
  const groups = (hierarchies[0] === "." ? ["."] : hierarchies).map((path) =>
    join(CONTROL_GROUPS, path, name),
  );
  for (const group of groups) mkdirSync(group);
  return groups;
}

/** The kernel lets a group go once the last of its processes is gone; systemd has made groups within. */
async function removeControlGroups(groups: readonly string[]): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (const group of groups) {
    while (existsSync(group)) {
      const { stderr } = await runCommand([
        "find",
        group,
        "-depth",
        "-type",
        "d",
        "-exec",
        "rmdir",
        "{}",
        ";",
      ]);
      assert(performance.now() < deadline, stderr);
    }
  }
}

/** The first process of the new PID namespace: the child of `unshare`. */
async function initOf(outer: number | undefined): Promise<number> {
  const deadline = performance.now() + BOOT_MS;
  for (;;) {
    const children = await readFile(`/proc/${outer}/task/${outer}/children`, "utf8").catch(() => "");
    const child = Number(children.trim().split(" ")[0]);
    if (child > 0) return child;
    assert(performance.now() < deadline, "the machine does not start");
    await delay(20);
  }
}

async function untilRunning(exec: Machine["exec"]): Promise<void> {
  const deadline = performance.now() + BOOT_MS;
  for (;;) {
    const { stdout } = await exec(["systemctl", "is-system-running"]);
    if (["running", "degraded"].includes(stdout.trim())) return;
    assert(performance.now() < deadline, `the machine does not boot: it is ${stdout.trim()}`);
    await delay(50);
  }
}
