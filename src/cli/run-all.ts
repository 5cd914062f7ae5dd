/** Work on many objects that goes on when one of them fails. */
import { asNattoError, ERRORS, type ErrorCode, type NattoError } from "../errors.ts";
import { errorText } from "./error-text.ts";
import { say } from "./output.ts";

/** Keeps account of what went wrong, and tells it at once. */
export interface Account {
  readonly failed: (error: NattoError) => void;
  /** How many things failed so far. */
  readonly failures: () => number;
  /** Says how many of `total` things failed, and returns the exit code: of the first failure, or 0. */
  readonly settle: (total: number, what: string) => number;
}

export function openAccount(): Account {
  const codes: ErrorCode[] = [];
  return {
    failed: (error) => {
      codes.push(error.code);
      say(`natto: ${errorText(error)}`);
    },
    failures: () => codes.length,
    settle: (total, what) => {
      const [first] = codes;
      if (first === undefined) return 0;
      if (total > 1) say(`natto: ${codes.length} of ${total} objects could not be ${what}`);
      return ERRORS[first].exit;
    },
  };
}

/**
 * Does `work` for each item in turn and tells of those that fail. When the store cannot be reached it stops, since the others
 * would fail in the same way, and says how many were not tried.
 */
export async function forEach<T>(
  items: readonly T[],
  account: Account,
  work: (item: T) => Promise<void>,
  explain: (item: T, error: NattoError) => NattoError = (_, error) => error,
): Promise<void> {
  for (const [index, item] of items.entries()) {
    try {
      await work(item);
    } catch (thrown) {
      const error = explain(item, asNattoError(thrown));
      account.failed(error);
      if (error.code !== "Unavailable") continue;
      const left = items.length - index - 1;
      if (left > 0) say(`natto: ${left} more not tried`);
      return;
    }
  }
}
