/** Files that an address on the command line names: certificates, keys, passwords, tokens. Both throw `Environment`. */
import { readFileSync } from "node:fs";
import { asNattoError, NattoError } from "./errors.ts";

export function readNamedFile(path: string): string {
  return readNamedBytes(path).toString("utf8");
}

export function readNamedBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (thrown) {
    throw new NattoError(
      "Environment",
      `cannot read ${path}, which an address names: ${asNattoError(thrown).message}; check the path and who may read it`,
      [],
      thrown,
    );
  }
}
