/**
 * The snapshot: the last good NodeConfig on this machine's disk, so that the node can start with nobody else there.
 *
 * Format: one line `natto-snapshot 1 <SHA-256 of the rest, hex>`, then a JSON document. Every byte is covered: a file that was
 * changed, cut or made by something else is refused, moved aside and never deleted.
 */
import { createHash } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { asNattoError, NattoError } from "../errors.ts";
import { type NodeConfig, nodeConfigSchema } from "../model/node-config.ts";

export const SNAPSHOT_FILE = "node-config.snapshot";
/** Between the file's name and the time at which it was moved aside. */
const REFUSED_INFIX = ".refused-";
const TEMPORARY_SUFFIX = ".tmp";

/** Whether a file of the state folder is a snapshot, a refused one or one that was not finished. */
export function isSnapshotFile(name: string): boolean {
  const rest = name.startsWith(SNAPSHOT_FILE) ? name.slice(SNAPSHOT_FILE.length) : undefined;
  return rest === "" || rest === TEMPORARY_SUFFIX || (rest?.startsWith(REFUSED_INFIX) ?? false);
}

const MAGIC = "natto-snapshot";
const VERSION = "1";
const HEADER = /^(\S+) (\S+) (\S+)$/;

export type SnapshotParse =
  | { readonly ok: true; readonly config: NodeConfig }
  | { readonly ok: false; readonly reason: SnapshotFault; readonly message: string };

/** Stable words for why a snapshot was refused. */
export type SnapshotFault = "Corrupt" | "OtherVersion" | "OtherNode" | "Unreadable";

/** The bytes of a snapshot. */
export function encodeSnapshot(config: NodeConfig): Buffer {
  const body = Buffer.from(`${JSON.stringify(config)}\n`);
  return Buffer.concat([Buffer.from(`${MAGIC} ${VERSION} ${sha256(body)}\n`), body]);
}

/** Parses the bytes of a snapshot that must be for the node of this name. */
export function decodeSnapshot(bytes: Buffer, node: string): SnapshotParse {
  const lineEnd = bytes.indexOf(0x0a);
  const header = HEADER.exec(bytes.subarray(0, Math.max(0, lineEnd)).toString("latin1"));
  if (!header || header[1] !== MAGIC)
    return refuse("Corrupt", "it is not a snapshot, or its beginning is damaged");
  if (header[2] !== VERSION) {
    return refuse("OtherVersion", `it has version ${header[2]}, and this Natto reads version ${VERSION}`);
  }
  const body = bytes.subarray(lineEnd + 1);
  if (sha256(body) !== header[3]) return refuse("Corrupt", "its checksum is wrong");
  const parsed = nodeConfigSchema.safeParse(parseJson(body));
  if (!parsed.success) {
    return refuse("OtherVersion", "its checksum is right, but this Natto does not know its fields");
  }
  const { name } = parsed.data.metadata;
  if (name !== node) return refuse("OtherNode", `it belongs to node ${name}, and this is ${node}`);
  return { ok: true, config: parsed.data };
}

export type SnapshotRead =
  | { readonly found: "nothing" }
  | { readonly found: "good"; readonly config: NodeConfig }
  | { readonly found: "refused"; readonly reason: SnapshotFault; readonly message: string };

/**
 * Reads the snapshot in the state folder. A refused one is moved aside under a name with the time `now` (epoch ms); the
 * message names it and says what to do. Never throws.
 */
export async function readSnapshot(stateFolder: string, node: string, now: number): Promise<SnapshotRead> {
  const file = join(stateFolder, SNAPSHOT_FILE);
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    if (isMissing(thrown)) return { found: "nothing" };
    return { found: "refused", reason: "Unreadable", message: `${file}: ${asNattoError(thrown).message}` };
  }
  const parsed = decodeSnapshot(bytes, node);
  if (parsed.ok) return { found: "good", config: parsed.config };
  const kept = `${file}${REFUSED_INFIX}${new Date(now).toISOString().replaceAll(/[:.]/g, "-")}`;
  const place = await rename(file, kept).then(
    () => `it was kept as ${kept}`,
    (thrown) => `it could not be moved aside (${asNattoError(thrown).message})`,
  );
  const message = `${file} was refused: ${parsed.message}; ${place}; the node waits for its NodeConfig from the store`;
  return { found: "refused", reason: parsed.reason, message };
}

/**
 * Writes the snapshot so that after a crash or a power cut at any moment either the earlier or the new one is there, whole.
 * Throws `Environment`.
 */
export async function writeSnapshot(stateFolder: string, config: NodeConfig): Promise<void> {
  const file = join(stateFolder, SNAPSHOT_FILE);
  const temporary = `${file}${TEMPORARY_SUFFIX}`;
  try {
    await writeDurably(temporary, encodeSnapshot(config));
    await rename(temporary, file);
    await syncFolder(dirname(file));
  } catch (thrown) {
    const problem = asNattoError(thrown).message;
    throw new NattoError(
      "Environment",
      `${file}: cannot be written: ${problem}; make room or correct its permissions`,
      [],
      thrown,
    );
  }
}

async function writeDurably(file: string, bytes: Buffer): Promise<void> {
  const handle = await open(file, "w", 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A rename is durable only once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
}

function refuse(reason: SnapshotFault, message: string): SnapshotParse {
  return { ok: false, reason, message };
}
