/** Another version of Natto, for tests of upgrades: this one's sources with a few words changed, and its own program compiled from them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const HERE = join(import.meta.dirname, "../../..");

export interface Edit {
  /** Path from the root of the sources. */
  readonly file: string;
  /** Must stand there once. */
  readonly from: string;
  readonly to: string;
}

/** Copies `parts` of the sources (`bpf` among them) into an empty folder, edits them and compiles. Returns the path of the program. */
function makeVersion(folder: string, parts: readonly string[], edits: readonly Edit[]): string {
  for (const part of parts) cpSync(join(HERE, part), join(folder, part), { recursive: true });
  for (const { file, from, to } of edits) {
    const pieces = readFileSync(join(folder, file), "utf8").split(from);
    assert.equal(pieces.length, 2, `${file} has '${from}' once`);
    writeFileSync(join(folder, file), pieces.join(to));
  }
  execFileSync("make", ["-f", join(HERE, "Makefile"), "-C", folder, "build/natto.bpf.o"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  return join(folder, "build/natto.bpf.o");
}

/** Only the program of another version, of edits in `bpf/`. */
export function compileVersion(folder: string, edits: readonly Edit[]): string {
  return makeVersion(folder, ["bpf"], edits);
}

/** A whole installation of another version, with this one's libraries. Returns the path of its `natto`. */
export function installVersion(folder: string, edits: readonly Edit[]): string {
  makeVersion(folder, ["bin", "bpf", "package.json", "scripts", "src"], edits);
  symlinkSync(join(HERE, "node_modules"), join(folder, "node_modules"));
  return join(folder, "bin/natto");
}
