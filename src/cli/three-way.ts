/**
 * The three-way merge behind `natto apply`. It knows what this file said the last time, what it says now and what is stored,
 * so that a field that was removed from the file goes back to its default, while a field that somebody else has set (an
 * operator's `drain`) survives.
 */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/**
 * Merges what is wanted into what is stored:
 * - a field that the file has takes the file's value; lists are replaced as a whole;
 * - a field that the file had the last time (`last`) and has no longer is removed;
 * - every other field stays as it is stored (`live`).
 *
 * Maps are merged field by field; a map that loses its last field is removed with it.
 */
export function mergeThreeWay(last: JsonObject, wanted: JsonObject, live: JsonObject): JsonObject {
  const merged = new Map<string, Json>();
  for (const [key, stored] of Object.entries(live)) {
    if (Object.hasOwn(wanted, key)) continue;
    const kept = Object.hasOwn(last, key) ? withoutFields(stored, last[key]) : stored;
    if (kept !== undefined) merged.set(key, kept);
  }
  for (const [key, value] of Object.entries(wanted)) {
    const stored = own(live, key);
    const before = own(last, key);
    const mergeable = isJsonObject(value) && isJsonObject(stored);
    merged.set(key, mergeable ? mergeThreeWay(isJsonObject(before) ? before : {}, value, stored) : value);
  }
  return Object.fromEntries(merged);
}

/** What is left of a stored value when the fields that the file once set are taken away; undefined when nothing is. */
function withoutFields(stored: Json, before: Json | undefined): Json | undefined {
  if (!isJsonObject(stored) || !isJsonObject(before)) return undefined;
  const rest = mergeThreeWay(before, {}, stored);
  return Object.keys(rest).length > 0 ? rest : undefined;
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
