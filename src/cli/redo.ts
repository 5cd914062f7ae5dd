/** What an operator declares on an object that others write too: read, change, write, and again when another was quicker. */
import { asNattoError } from "../errors.ts";

const ATTEMPTS = 10;

/** Runs `attempt`, which reads an object and writes it conditionally, until no `Conflict` comes; at most ten times, then throws the last. */
export async function redoOnConflict<T>(attempt: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (thrown) {
      if (asNattoError(thrown).code !== "Conflict" || count === ATTEMPTS) throw thrown;
    }
  }
}
