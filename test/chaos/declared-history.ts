/**
 * Whether a store kept its word. One writer changes each object, one operation after the other, and notes what it was told; its history
 * shows what may be there afterwards. Pure.
 */

/** The value that an object stands for; undefined: there is no such object. */
export type Value = number | undefined;

/**
 * - `acknowledged`: the store said that it is done.
 * - `refused`: the store said that it is not.
 * - `unknown`: the answer never came: it may be done, now or (as far as the writer knows) a little later.
 */
export interface WriteOperation {
  readonly type: "write";
  readonly object: string;
  readonly value: Value;
  readonly outcome: "acknowledged" | "refused" | "unknown";
  readonly at: number;
}

export interface ReadOperation {
  readonly type: "read";
  readonly object: string;
  readonly value: Value;
  readonly at: number;
}

export type Operation = WriteOperation | ReadOperation;

/**
 * Checks each object's history, in the order in which its writer made it: every read shows the last acknowledged write, or one of
 * unknown outcome since; and what a read has shown stays. Returns one sentence for each violation.
 */
export function checkHistory(history: readonly Operation[]): readonly string[] {
  const possible = new Map<string, readonly Value[]>();
  const violations: string[] = [];
  for (const operation of history) {
    const { object, value, at } = operation;
    const known = possible.get(object) ?? [undefined];
    if (operation.type === "read") {
      const index = known.indexOf(value);
      if (index < 0) {
        violations.push(
          `${object} is ${valueText(value)} at ${at}, but by what was acknowledged it is ${known.map(valueText).join(" or ")}`,
        );
      } else {
        // What was before it is gone; unknown writes after it may still come.
        possible.set(object, known.slice(index));
      }
    } else if (operation.outcome === "acknowledged") {
      possible.set(object, [value]);
    } else if (operation.outcome === "unknown") {
      possible.set(object, [...known, value]);
    }
  }
  return violations;
}

function valueText(value: Value): string {
  return value === undefined ? "absent" : String(value);
}
