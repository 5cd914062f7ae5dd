/** Checking fences: a driver's guard on the object that shows whose term it is. */
import { NattoError } from "../errors.ts";
import { nameOf } from "../model/validate.ts";
import type { Guard, KeyValueStore } from "./key-value.ts";
import { decodeOrThrow } from "./object-codec.ts";
import { type Fence, keyText } from "./store.ts";

export interface FenceCheck {
  /** The guard to write under; the one of the last look, unless there was none. Throws `Fenced`. */
  guard(): Promise<Guard>;
  /** To be called when a write under the guard was refused. Throws `Fenced` if that is why. */
  lookAgain(): Promise<void>;
}

/**
 * The driver compares revisions, and the object's revision also changes when its leader renews it. So the revision is remembered,
 * and looked up again when a write was refused: then either the term goes on under another revision, or it is over.
 */
export function makeFenceCheck(driver: KeyValueStore, fence: Fence): FenceCheck {
  const key = keyText(fence.key);
  let last: Guard | undefined;

  async function look(): Promise<Guard> {
    const entry = await driver.get(key);
    const found = entry && decodeOrThrow(key, entry.value, entry.revision);
    const { uid, generation } = found?.metadata ?? {};
    if (entry === undefined || uid !== fence.uid || generation !== fence.generation) {
      throw fenced(fence, generation);
    }
    return { key, expected: entry.revision };
  }

  return {
    guard: async () => {
      last ??= await look();
      return last;
    },
    lookAgain: async () => {
      last = await look();
    },
  };
}

function fenced({ key, generation }: Fence, found: number | undefined): NattoError {
  const name = nameOf({ kind: key.kind, metadata: key });
  const now = found === undefined ? "it is gone" : `it is at generation ${found}`;
  return new NattoError(
    "Fenced",
    `the term of this writer is over: it held ${name} at generation ${generation}, and now ${now}; ` +
      "nothing was written; stop, and stand for election again",
  );
}
