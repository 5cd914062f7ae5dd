/**
 * Locks on folders, so that two agents never work on the same pins or the same state. flock(2) on the folder itself: the kernel
 * lets go of it when the process ends in whatever way, nothing is written, nothing can be stale.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync } from "node:fs";
import koffi from "koffi";
import { asNattoError, NattoError } from "../errors.ts";

const LOCK_EXCLUSIVE = 2;
const LOCK_NOW = 4;

export interface FolderLock {
  release(): void;
}

/**
 * Locks a folder that exists, for as long as the process lives or until it is released. Throws `Environment`, naming the
 * process that holds the lock where the kernel tells it.
 */
export function lockFolder(folder: string): FolderLock {
  const descriptor = openFolder(folder);
  if (flock(descriptor, LOCK_EXCLUSIVE | LOCK_NOW) === 0) {
    return { release: () => closeSync(descriptor) };
  }
  const holder = lockHolder(descriptor);
  closeSync(descriptor);
  const who = holder === undefined ? "another process" : `process ${holder}`;
  throw new NattoError(
    "Environment",
    `${folder}: ${who} works in this folder; stop that agent first, or give this one folders of its own`,
  );
}

/** Makes the folders where they are missing, and locks them; all or none. */
export function lockFolders(folders: readonly string[]): FolderLock[] {
  const locks: FolderLock[] = [];
  try {
    for (const folder of new Set(folders)) {
      mkdirSync(folder, { recursive: true });
      locks.push(lockFolder(folder));
    }
    return locks;
  } catch (thrown) {
    releaseAll(locks);
    if (thrown instanceof NattoError) throw thrown;
    const message = `${folders.join(", ")}: ${asNattoError(thrown).message}; give folders that Natto may make and use`;
    throw new NattoError("Environment", message, [], thrown);
  }
}

export function releaseAll(locks: readonly FolderLock[]): void {
  for (const lock of locks) lock.release();
}

function openFolder(folder: string): number {
  try {
    return openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (thrown) {
    const problem = asNattoError(thrown).message;
    throw new NattoError(
      "Environment",
      `${folder}: cannot be opened: ${problem}; make it a folder that Natto may use`,
    );
  }
}

/** The process that holds a flock on this file, from /proc/locks (proc(5)). Best effort: it may have ended by now. */
function lockHolder(descriptor: number): number | undefined {
  const { dev, ino } = fstatSync(descriptor);
  const hex = (part: number): string => part.toString(16).padStart(2, "0");
  const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
  const file = ` ${hex(major)}:${hex(minor)}:${ino} `;
  const line = readFileSync("/proc/locks", "utf8")
    .split("\n")
    .find((text) => text.includes(" FLOCK ") && text.includes(file));
  const pid = Number(line?.trim().split(/\s+/)[4]);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

let libraryCall: ((descriptor: number, operation: number) => number) | undefined;

function flock(descriptor: number, operation: number): number {
  libraryCall ??= koffi.load("libc.so.6").func("int flock(int, int)");
  return libraryCall(descriptor, operation);
}
