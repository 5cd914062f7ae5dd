/** Output of the traffic programs: one JSON object a line, each with an `event`. */
import { writeSync } from "node:fs";

/** Writes at once, so that nothing is lost when the program ends right after. */
export function emit(event: { readonly event: string; readonly [field: string]: unknown }): void {
  const line = Buffer.from(`${JSON.stringify(event)}\n`);
  for (let done = 0; done < line.length; ) done += writeSync(1, line, done);
}

/** The complete lines of some output, parsed. The caller knows what its program writes. */
export function parseLines<T extends { readonly event: string }>(output: string): readonly T[] {
  return output
    .slice(0, output.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}
