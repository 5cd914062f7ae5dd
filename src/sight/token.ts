/** The secret that lets somebody read a node's sessions. */
import { readFileSync } from "node:fs";
import { asNattoError, NattoError } from "../errors.ts";

/** Reads a token from a file that holds nothing else. Throws `Environment`. */
export function readToken(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (thrown) {
    throw new NattoError("Environment", `cannot read the token: ${asNattoError(thrown).message}`, [], thrown);
  }
  if (/^[\x21-\x7e]{16,}$/.test(text)) return text;
  throw new NattoError(
    "Environment",
    `${file} holds no token; write at least 16 letters and digits into it, such as 'openssl rand -hex 24' makes`,
  );
}
