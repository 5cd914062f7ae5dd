/** Reads the texts that `-f` names: files, folders, standard input. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { asNattoError, describeError, NattoError } from "../errors.ts";
import { type Manifest, type ManifestText, parseManifests } from "./manifest.ts";

const MANIFEST_FILE = /\.(ya?ml|json)$/;

/**
 * Reads all manifests that the `-f` arguments name, in the order in which they are given; the files of a folder, and of all
 * folders in it, in the order of their paths. Throws one error for everything that could not be read or is not YAML, so that
 * nothing is done by halves.
 */
export async function readManifests(
  paths: readonly string[],
  stdin: NodeJS.ReadableStream,
): Promise<Manifest[]> {
  if (paths.filter((path) => path === "-").length > 1) {
    throw new NattoError("BadRequest", "standard input (-f -) can be read only once; name it once");
  }
  const manifests: Manifest[] = [];
  const faults: NattoError[] = [];
  for (const path of paths) {
    try {
      for (const text of await readTexts(path, stdin)) {
        try {
          manifests.push(...parseManifests(text));
        } catch (thrown) {
          faults.push(asNattoError(thrown));
        }
      }
    } catch (thrown) {
      faults.push(asNattoError(thrown));
    }
  }
  const [first] = faults;
  if (first) throw new NattoError(first.code, faults.map(describeError).join("\n"));
  if (manifests.length === 0) {
    throw new NattoError("BadRequest", `no objects in ${paths.join(", ")}; write at least one`);
  }
  return manifests;
}

async function readTexts(path: string, stdin: NodeJS.ReadableStream): Promise<ManifestText[]> {
  if (path === "-") return [{ source: "standard input", text: await readText(stdin) }];
  try {
    const files = (await stat(path)).isDirectory() ? await filesIn(path) : [path];
    return await Promise.all(files.map(async (source) => ({ source, text: await readFile(source, "utf8") })));
  } catch (thrown) {
    throw fileError(path, thrown);
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => (entry.isFile() || entry.isSymbolicLink()) && MANIFEST_FILE.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  if (files.length > 0) return files;
  throw new NattoError("BadRequest", `${folder}: no file named *.yaml, *.yml or *.json in this folder`);
}

function fileError(path: string, thrown: unknown): NattoError {
  if (thrown instanceof NattoError) return thrown;
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  const where = thrown instanceof Error && "path" in thrown ? String(thrown.path) : path;
  switch (code) {
    case "ENOENT":
      return new NattoError("BadRequest", `${where}: no such file or folder; check the path`, [], thrown);
    case "EACCES":
      return new NattoError("BadRequest", `${where}: may not be read; check its permissions`, [], thrown);
    default: {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      return new NattoError("BadRequest", `${where}: cannot be read: ${reason}`, [], thrown);
    }
  }
}
