/** For tests: whatever of a lab is still on the machine. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { labRoot } from "./run-folder.ts";
import { namespacesOf } from "./teardown.ts";

/** Its namespaces, mounts and folder; empty when nothing is left. Processes are told by their ids, which the caller must have noted. */
export function leftovers(lab: string): readonly string[] {
  const folder = join(labRoot(), lab);
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(` ${folder}/`));
  return [...namespacesOf(lab), ...mounts, ...(existsSync(folder) ? [folder] : [])];
}
