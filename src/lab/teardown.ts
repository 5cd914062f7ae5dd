/** Takes a lab down. Works from what is on disk and in the kernel alone, so it also cleans up after an `up` that was killed. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { NattoError } from "../errors.ts";
import { runCommand } from "../run-command.ts";
import { endProcesses, isAlive, type ProcessId, processesIn } from "./process-table.ts";
import { labRoot, type RunFolder, readProcesses, readState, removeFolder, runFolder } from "./run-folder.ts";
import { namespacePrefix } from "./topology.ts";

const NETNS_FOLDER = "/run/netns";
const GRACE_MS = 2_000;

/** How many of each were removed. */
export interface TeardownReport {
  readonly lab: string;
  readonly processes: number;
  readonly namespaces: number;
  readonly mounts: number;
}

/**
 * Ends the lab's processes and everything else that lives in its namespaces, then removes mounts, namespaces and the folder. A lab that is
 * not there is fine: nothing is removed. Throws `Environment`, after doing all that can be done, when something would not go.
 */
export async function downLab(name: string, root: string = labRoot()): Promise<TeardownReport> {
  const folder = runFolder(root, name);
  if (!existsSync(folder.path)) return { lab: name, processes: 0, namespaces: 0, mounts: 0 };
  // Without a state nothing but the folder was made; namespaces of this name would be those of a lab in another root.
  const state = await readState(folder);
  const namespaces = state ? namespacesOf(name) : [];
  const faults: string[] = [];
  const processes = await endAll(folder, namespaces, faults);
  const mounts = await unmountAll(folder, faults);
  if (state) await removeNamespaces(name, faults);
  if (faults.length === 0) await removeFolder(folder);
  else {
    throw new NattoError(
      "Environment",
      `lab ${name} is not wholly down: ${faults.join("; ")}; look into it, then run 'natto lab down ${name}' again`,
    );
  }
  return { lab: name, processes, namespaces: namespaces.length, mounts };
}

/** The namespaces of a lab that exist. */
export function namespacesOf(lab: string): string[] {
  if (!existsSync(NETNS_FOLDER)) return [];
  return readdirSync(NETNS_FOLDER).filter((name) => name.startsWith(namespacePrefix(lab)));
}

async function endAll(folder: RunFolder, namespaces: readonly string[], faults: string[]): Promise<number> {
  const recorded = await readProcesses(folder);
  const files = namespaces.map((name) => join(NETNS_FOLDER, name));
  const list = () => {
    const found = new Map<number, ProcessId>(processesIn(files).map((id) => [id.pid, id]));
    for (const record of recorded) if (isAlive(record)) found.set(record.pid, record);
    return [...found.values()];
  };
  const before = list().length;
  const immortal = await endProcesses(list, GRACE_MS);
  if (immortal.length > 0) faults.push(`processes ${immortal.map((id) => id.pid).join(", ")} do not die`);
  return before;
}

async function unmountAll(folder: RunFolder, faults: string[]): Promise<number> {
  const before = mountsUnder(folder.path);
  if (before.length === 0) return 0;
  await runCommand(["umount", ...before]);
  const busy = mountsUnder(folder.path);
  // What still holds a file open loses it only when it closes it, but nobody else finds the mount any more.
  if (busy.length > 0) await runCommand(["umount", "--lazy", ...busy]);
  const left = mountsUnder(folder.path);
  if (left.length > 0) faults.push(`cannot unmount ${left.join(", ")}`);
  return before.length;
}

/** Mount points in a folder, the innermost first (proc_pid_mountinfo(5): field 5, with blanks as octal escapes). */
function mountsUnder(path: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[4] ?? [])
    .map((point) =>
      point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    )
    .filter((point) => point.startsWith(`${path}/`))
    .reverse();
}

async function removeNamespaces(lab: string, faults: string[]): Promise<void> {
  const names = namespacesOf(lab);
  if (names.length === 0) return;
  const result = await runCommand(["ip", "-force", "-batch", "-"], {
    input: names.map((n) => `netns del ${n}\n`).join(""),
  });
  // A name on which nothing was mounted yet (its maker was killed in between) is only a file.
  for (const name of namespacesOf(lab)) await rm(join(NETNS_FOLDER, name), { force: true }).catch(() => {});
  const left = namespacesOf(lab);
  if (left.length > 0)
    faults.push(`cannot remove the namespaces ${left.join(", ")}: ${result.stderr.trim()}`);
}
