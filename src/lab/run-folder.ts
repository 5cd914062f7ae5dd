/**
 * What is known on disk of the labs that are up, so that any later process can use one or take it down, even after the one that
 * made it was killed. A lab's folder is
 *
 *     lab.json               the lab as declared, its namespaces and mounts; written before anything is made
 *     processes/HOST.NAME.json   one file per process that was started
 *     cut/LINK               one empty file per link that is cut
 *     logs/HOST.NAME.out|err     output of processes
 *     state/HOST, bpf/HOST   of nodes: a folder for their state, a mounted BPF file system
 *
 * One file per fact: nobody has to read and rewrite what another process may be writing.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { NattoError } from "../errors.ts";
import { LAB_NAME, LAB_NAME_RULE, type LabFile } from "./lab-file.ts";
import type { ProcessId } from "./process-table.ts";

export interface LabState {
  readonly version: 1;
  readonly phase: "starting" | "up";
  /** RFC 3339. */
  readonly createdAt: string;
  readonly lab: LabFile;
  readonly namespaces: readonly string[];
  readonly mounts: readonly string[];
}

export interface ProcessRecord extends ProcessId {
  readonly host: string;
  readonly name: string;
  readonly command: readonly string[];
}

export interface RunFolder {
  readonly lab: string;
  readonly path: string;
}

/** The folder that holds the folders of all labs: NATTO_LAB_DIR, or /run/natto-lab. Throws `Environment` when it cannot be used. */
export function labRoot(env: NodeJS.ProcessEnv = process.env): string {
  const root = env.NATTO_LAB_DIR ?? "/run/natto-lab";
  if (isAbsolute(root) && !root.includes(".")) return root;
  throw new NattoError(
    "Environment",
    `NATTO_LAB_DIR is ${root}; give an absolute path without dots (libbpf takes no dots in the paths of pinned maps)`,
  );
}

/** The folder of a lab. Throws `Invalid` for what cannot be a lab's name, so that no other folder is ever taken for one. */
export function runFolder(root: string, lab: string): RunFolder {
  if (!LAB_NAME.test(lab)) throw new NattoError("Invalid", `'${lab}' ${LAB_NAME_RULE}`);
  return { lab, path: join(root, lab) };
}

/** The state folder of a host; the working folder of its processes. */
export function stateFolder(folder: RunFolder, host: string): string {
  return join(folder.path, "state", host);
}

/** Where a node's BPF file system is mounted. */
export function bpfFolder(folder: RunFolder, host: string): string {
  return join(folder.path, "bpf", host);
}

export function logFiles(folder: RunFolder, host: string, name: string) {
  const base = join(folder.path, "logs", `${host}.${name}`);
  return { stdout: `${base}.out`, stderr: `${base}.err` } as const;
}

/** Names of the labs that have a folder, sorted. */
export async function listLabs(root: string = labRoot()): Promise<string[]> {
  return (await namesIn(root)).sort();
}

/** Makes the folder. Throws `AlreadyExists` when the lab is up or was not taken down: of several at once only one succeeds. */
export async function claimFolder(folder: RunFolder): Promise<void> {
  await mkdir(join(folder.path, ".."), { recursive: true, mode: 0o755 });
  try {
    await mkdir(folder.path);
  } catch (thrown) {
    if (!isCode(thrown, "EEXIST")) throw thrown;
    throw new NattoError(
      "AlreadyExists",
      `lab ${folder.lab} is up, or was not taken down: ${folder.path} exists; run 'natto lab down ${folder.lab}' or choose another name`,
    );
  }
  for (const part of ["processes", "cut", "logs", "state", "bpf"]) await mkdir(join(folder.path, part));
}

export async function removeFolder(folder: RunFolder): Promise<void> {
  await rm(folder.path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
}

export async function writeState(folder: RunFolder, state: LabState): Promise<void> {
  await writeWhole(join(folder.path, "lab.json"), state);
}

/** The state; undefined when there is none, which means that nothing but the folder was made. */
export async function readState(folder: RunFolder): Promise<LabState | undefined> {
  return readJson<LabState>(join(folder.path, "lab.json"));
}

export async function recordProcess(folder: RunFolder, record: ProcessRecord): Promise<void> {
  await writeWhole(join(folder.path, "processes", `${record.host}.${record.name}.json`), record);
}

export async function readProcess(
  folder: RunFolder,
  host: string,
  name: string,
): Promise<ProcessRecord | undefined> {
  return readJson<ProcessRecord>(join(folder.path, "processes", `${host}.${name}.json`));
}

export async function readProcesses(folder: RunFolder): Promise<ProcessRecord[]> {
  const names = (await namesIn(join(folder.path, "processes")))
    .filter((name) => name.endsWith(".json"))
    .sort();
  const records = await Promise.all(
    names.map((name) => readJson<ProcessRecord>(join(folder.path, "processes", name))),
  );
  return records.filter((record) => record !== undefined);
}

/** Links that are cut. */
export async function readCuts(folder: RunFolder): Promise<Set<string>> {
  return new Set(await namesIn(join(folder.path, "cut")));
}

export async function recordCut(folder: RunFolder, link: string): Promise<void> {
  await writeFile(join(folder.path, "cut", link), "");
}

export async function forgetCut(folder: RunFolder, link: string): Promise<void> {
  await rm(join(folder.path, "cut", link), { force: true });
}

async function writeWhole(path: string, value: unknown): Promise<void> {
  const draft = `${path}.${process.pid}.new`;
  await writeFile(draft, `${JSON.stringify(value, null, 2)}\n`);
  await rename(draft, path);
}

/** These files are written by this module only, and whole. */
async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as T;
  } catch (thrown) {
    if (isCode(thrown, "ENOENT")) return undefined;
    throw thrown;
  }
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (thrown) {
    if (isCode(thrown, "ENOENT")) return [];
    throw thrown;
  }
}

function isCode(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}
