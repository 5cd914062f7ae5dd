/** Processes of the machine, told apart by pid and start time, so that a pid that was given to another process is never touched. */
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface ProcessId {
  readonly pid: number;
  /** Since boot, in clock ticks: field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: string;
}

/** The identity of a running process; undefined when there is none of this pid, or only its remains. */
export function identify(pid: number): ProcessId | undefined {
  const found = readStat(pid);
  return found === undefined || found.state === "Z" || found.state === "X" ? undefined : found.id;
}

/** The identity of a child that was just started. It may have ended already: nobody has collected it, so its pid is still its own. */
export function identifyChild(pid: number): ProcessId | undefined {
  return readStat(pid)?.id;
}

function readStat(pid: number): { readonly id: ProcessId; readonly state: string } | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The program's name stands in parentheses and may itself contain spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, startTime] = [fields[0], fields[19]];
  return state === undefined || startTime === undefined ? undefined : { id: { pid, startTime }, state };
}

export function isAlive(id: ProcessId): boolean {
  return identify(id.pid)?.startTime === id.startTime;
}

/** Sends a signal to exactly this process; false when it is gone. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    process.kill(id.pid, signal);
    return true;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ESRCH") return false;
    throw thrown;
  }
}

/** All processes that live in one of these namespaces, given by the paths of their files. Paths that are gone count for nothing. */
export function processesIn(namespaceFiles: readonly string[]): ProcessId[] {
  const inodes = new Set(namespaceFiles.flatMap(inodeOf).map((inode) => `net:[${inode}]`));
  if (inodes.size === 0) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      const id = inodes.has(namespaceOfProcess(name)) ? identify(Number(name)) : undefined;
      return id ? [id] : [];
    });
}

function inodeOf(path: string): number[] {
  try {
    return [statSync(path).ino];
  } catch {
    return [];
  }
}

function namespaceOfProcess(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return "";
  }
}

/**
 * Ends processes: TERM, and KILL for those that are still there after `graceMs`. `list` is asked again in each round, so that children
 * born meanwhile are found too. Returns those that would not die within another two seconds.
 */
export async function endProcesses(
  list: () => readonly ProcessId[],
  graceMs: number,
): Promise<readonly ProcessId[]> {
  for (const id of list()) signalProcess(id, "SIGTERM");
  const left = await untilNone(list, graceMs, () => {});
  if (left.length === 0) return [];
  return untilNone(list, 2_000, (id) => signalProcess(id, "SIGKILL"));
}

async function untilNone(
  list: () => readonly ProcessId[],
  patienceMs: number,
  eachRound: (id: ProcessId) => void,
): Promise<readonly ProcessId[]> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const left = list();
    if (left.length === 0 || performance.now() > deadline) return left;
    for (const id of left) eachRound(id);
    await delay(10);
  }
}
