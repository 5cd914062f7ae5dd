/** Takes back everything that an agent ever made on this machine. Needs no store. */
import { existsSync } from "node:fs";
import { readdir, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { asNattoError, NattoError } from "../errors.ts";
import { lockFolders, releaseAll } from "./folder-lock.ts";
import { isSnapshotFile } from "./snapshot.ts";

export interface CleanupOptions {
  readonly pinFolder: string;
  readonly stateFolder: string;
  /** Takes back what is announced, and what was made for it, and says what that was. */
  readonly cleanupRouting: (stateFolder: string) => Promise<readonly string[]>;
  /** Takes back what the dataplane made and says what that was. */
  readonly cleanupDataplane: (folders: {
    readonly pinFolder: string;
    readonly stateFolder: string;
  }) => Promise<readonly string[]>;
}

/**
 * Takes back what is announced while the node still forwards, removes the dataplane, then the snapshots, then the folders if nothing else is in them. Returns one line for each thing that was
 * removed: none when there was nothing. Throws `Environment` while an agent works in the folders.
 */
export async function cleanupAgent(options: CleanupOptions): Promise<string[]> {
  const { pinFolder, stateFolder, cleanupRouting, cleanupDataplane } = options;
  const folders = [stateFolder, pinFolder].filter((folder) => existsSync(folder));
  const locks = lockFolders(folders);
  try {
    const removed = [...(await cleanupRouting(stateFolder))];
    removed.push(...(await cleanupDataplane({ pinFolder, stateFolder })));
    removed.push(...(await removeSnapshots(stateFolder)));
    for (const folder of folders) {
      if (await removeIfEmpty(folder)) removed.push(`folder ${folder}`);
    }
    return removed;
  } finally {
    releaseAll(locks);
  }
}

async function removeSnapshots(stateFolder: string): Promise<string[]> {
  if (!existsSync(stateFolder)) return [];
  const files = (await readdir(stateFolder)).filter(isSnapshotFile).sort();
  const removed: string[] = [];
  for (const file of files) {
    const path = join(stateFolder, file);
    await unlink(path);
    removed.push(`snapshot ${path}`);
  }
  return removed;
}

/** A folder that is in use for something else (not empty, a mount point) stays. */
async function removeIfEmpty(folder: string): Promise<boolean> {
  try {
    await rmdir(folder);
    return true;
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    if (code === "ENOENT" || code === "ENOTEMPTY" || code === "EBUSY") return false;
    const message = `${folder}: cannot be removed: ${asNattoError(thrown).message}; remove it by hand`;
    throw new NattoError("Environment", message, [], thrown);
  }
}
