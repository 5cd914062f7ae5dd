/** Validation of one object by itself: from unknown input to a typed object with its defaults, or the list of faults. */
import type { z } from "zod";
import { type FieldError, NattoError } from "../errors.ts";
import { type AnyObject, findKind, isKind, KINDS, kindInfo } from "./kinds.ts";
import { API_VERSION, DEFAULT_NAMESPACE } from "./meta.ts";

/** Largest object that people may declare, as JSON. NodeConfigs, which Natto writes itself, may be larger. */
export const MAX_OBJECT_BYTES = 256 * 1024;
export const MAX_SYSTEM_OBJECT_BYTES = 8 * 1024 * 1024;
/** No field of ours lies nearly as deep. */
export const MAX_NESTING = 32;

/**
 * Validates an object as a person wrote it and fills in the defaults. Throws `Invalid` with one detail per wrong
 * field, or `TooLarge`.
 */
export function validateObject(input: unknown): AnyObject {
  const object = asRecord(input);
  if (!object) {
    throw new NattoError(
      "Invalid",
      `expected an object with apiVersion, kind, metadata and spec; found ${show(input)}`,
    );
  }
  checkNesting(object);
  const { kind } = object;
  if (!isKind(kind)) {
    const near = typeof kind === "string" ? findKind(kind) : undefined;
    throw new NattoError("Invalid", `kind: ${show(kind)} is not a kind of Natto's`, [
      {
        field: "kind",
        message: `found ${show(kind)}`,
        remedy: near ? `write ${near}` : `use one of ${KINDS.join(", ")}`,
      },
    ]);
  }
  const info = kindInfo(kind);
  const data = checkSchema(info.schema, withNamespace(object, info.namespaced));
  checkNamespace(data, info.namespaced);
  checkSize(data, info.system ? MAX_SYSTEM_OBJECT_BYTES : MAX_OBJECT_BYTES);
  return data;
}

/**
 * Throws `Invalid` for what is nested deeper than `MAX_NESTING`. To be called before anything that walks a document by recursion, such as
 * a merge or `JSON.stringify`, whose stack it would exhaust.
 */
export function checkNesting(input: unknown): void {
  let level: readonly unknown[] = [input];
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    level = level.flatMap((value) =>
      typeof value === "object" && value !== null ? Object.values(value) : [],
    );
    if (level.length === 0) return;
  }
  throw new NattoError(
    "Invalid",
    `${nameOf(input)} has fields nested deeper than ${MAX_NESTING} levels; remove what is nested too deep`,
  );
}

/** Validates any document against a schema and fills in the defaults. Throws `Invalid` with one detail per wrong field. */
export function checkSchema<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw invalid(
    input,
    result.error.issues.flatMap((issue) => fieldErrors(issue, input)),
  );
}

/** The `Invalid` error of a document with these faults; at least one. */
export function invalid(input: unknown, details: readonly FieldError[]): NattoError {
  return new NattoError("Invalid", `${nameOf(input)} is invalid: ${summary(details)}`, details);
}

/** `Kind namespace/name`, as errors and the CLI call an object, as far as it can be told. */
export function nameOf(input: unknown): string {
  const object = asRecord(input);
  const metadata = asRecord(object?.metadata);
  const kind = typeof object?.kind === "string" ? object.kind : "object";
  const name = typeof metadata?.name === "string" ? metadata.name : "(without a name)";
  const namespace = typeof metadata?.namespace === "string" ? `${metadata.namespace}/` : "";
  return `${kind} ${namespace}${name}`;
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function withNamespace(object: Record<string, unknown>, namespaced: boolean): unknown {
  const metadata = asRecord(object.metadata);
  if (!namespaced || !metadata || metadata.namespace !== undefined) return object;
  return { ...object, metadata: { ...metadata, namespace: DEFAULT_NAMESPACE } };
}

function checkNamespace(object: AnyObject, namespaced: boolean): void {
  if (namespaced || object.metadata.namespace === undefined) return;
  const detail = {
    field: "metadata.namespace",
    message: `found ${show(object.metadata.namespace)}, but a ${object.kind} belongs to no namespace`,
    remedy: "remove the field",
  };
  throw invalid(object, [detail]);
}

function checkSize(object: AnyObject, limit: number): void {
  const bytes = Buffer.byteLength(JSON.stringify({ metadata: object.metadata, spec: object.spec }));
  if (bytes <= limit) return;
  throw new NattoError(
    "TooLarge",
    `${nameOf(object)} has ${bytes} bytes; at most ${limit} are allowed; split it into several objects`,
  );
}

function summary(details: readonly FieldError[]): string {
  const [first] = details;
  if (!first) return "unknown fault";
  const more = details.length > 1 ? ` (and ${details.length - 1} more)` : "";
  return `${first.field}: ${first.message}; ${first.remedy}${more}`;
}

/** Shows a value in an error, shortened. */
function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function formatPath(path: readonly PropertyKey[]): string {
  return (
    path.map((p, i) => (typeof p === "number" ? `[${p}]` : `${i === 0 ? "" : "."}${String(p)}`)).join("") ||
    "(object)"
  );
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    root,
  );
}

/** One of zod's issues as faults of fields. Messages of our own fields have the form "what is wrong; what to do". */
function fieldErrors(issue: z.core.$ZodIssue, root: unknown): FieldError[] {
  const field = formatPath(issue.path);
  const found = show(valueAt(root, issue.path));
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        field: field === "(object)" ? key : `${field}.${key}`,
        message: "unknown field",
        remedy: "remove it or correct its spelling",
      }));
    case "invalid_type":
      return found === "nothing"
        ? [{ field, message: "is required", remedy: `give ${article(issue.expected)}` }]
        : [
            {
              field,
              message: `found ${found}, expected ${article(issue.expected)}`,
              remedy: "correct the value",
            },
          ];
    case "invalid_value": {
      const allowed = issue.values.map((v) => show(v)).join(", ");
      return [
        { field, message: `found ${found}`, remedy: `use ${field === "apiVersion" ? API_VERSION : allowed}` },
      ];
    }
    default: {
      const [problem, ...remedy] = issue.message.split("; ");
      return [{ field, message: `${found} ${problem}`, remedy: remedy.join("; ") || "correct the value" }];
    }
  }
}

function article(type: string): string {
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}
