/** How two values differ, field by field. Pure. */
import { isDeepStrictEqual } from "node:util";
import { isJsonObject } from "./three-way.ts";

export interface FieldChange {
  /** Such as `spec.sources[2]`. */
  readonly field: string;
  /** Undefined: it was not there. */
  readonly before: unknown;
  /** Undefined: it is not there any more. */
  readonly after: unknown;
}

/** The deepest fields that differ. Lists of plain values, and lists of different lengths, differ as a whole. */
export function fieldChanges(before: unknown, after: unknown, field: string): readonly FieldChange[] {
  if (isDeepStrictEqual(before, after)) return [];
  if (isJsonObject(before) && isJsonObject(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return names.flatMap((name) =>
      fieldChanges(before[name], after[name], field === "" ? name : `${field}.${name}`),
    );
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    if (before.some(isJsonObject)) {
      return before.flatMap((item, i) => fieldChanges(item, after[i], `${field}[${i}]`));
    }
  }
  return [{ field, before, after }];
}

const MAX_SHOWN = 70;

/** One line: `+ field: new`, `- field: old` or `~ field: old -> new`. */
export function changeLine({ field, before, after }: FieldChange): string {
  if (before === undefined) return `+ ${field}: ${show(after)}`;
  if (after === undefined) return `- ${field}: ${show(before)}`;
  return `~ ${field}: ${show(before)} -> ${show(after)}`;
}

function show(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN - 1)}…` : text;
}
