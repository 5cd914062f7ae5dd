/** What comes in with a request: bodies and query parameters, checked before anything is done with them. */
import { type FieldError, NattoError } from "../errors.ts";
import { type KindInfo, kindInfo } from "../model/kinds.ts";
import { checkNesting, MAX_OBJECT_BYTES, MAX_SYSTEM_OBJECT_BYTES } from "../model/validate.ts";
import type { ObjectKey } from "../store/store.ts";

/**
 * Bodies that are larger are not even read. Well above what an object may have, so that most objects that are too large are
 * read and named in the error; a status and white space do not count towards an object's limit.
 */
export function bodyLimit(info: KindInfo): number {
  return info.system ? 2 * MAX_SYSTEM_OBJECT_BYTES : 16 * MAX_OBJECT_BYTES;
}

/** The error for a body beyond `bodyLimit`. */
export function bodyTooLarge(what: string, info: KindInfo, bytes: string | undefined): NattoError {
  const limit = info.system ? MAX_SYSTEM_OBJECT_BYTES : MAX_OBJECT_BYTES;
  return new NattoError(
    "TooLarge",
    `${what}: the body has ${bytes ?? `more than ${bodyLimit(info)}`} bytes; at most ${limit} are allowed for a ${info.kind}; ` +
      "split it into several objects",
  );
}

/**
 * The body as an object that lies where the path says: kind, namespace and name must agree with it; a namespace that is left out is the
 * path's. `name` undefined in the key (on create): any. Throws `BadRequest` with a detail per disagreement, `Invalid` when it is nested too deep.
 */
export function objectAt(
  body: unknown,
  key: Omit<ObjectKey, "name"> & { readonly name?: string | undefined },
): unknown {
  const object = record(body);
  if (!object) {
    throw new NattoError("BadRequest", "the body is not an object; send one object as JSON");
  }
  checkNesting(object);
  const metadata = record(object.metadata);
  const faults: FieldError[] = [];
  const compare = (field: string, found: unknown, expected: string | undefined): void => {
    if (found === expected || found === undefined || expected === undefined) return;
    faults.push({
      field,
      message: `found ${JSON.stringify(found)}, but the path says ${JSON.stringify(expected)}`,
      remedy: "make the body and the path agree",
    });
  };
  compare("kind", object.kind, key.kind);
  compare("metadata.namespace", metadata?.namespace, key.namespace);
  compare("metadata.name", metadata?.name, key.name);
  const [first] = faults;
  if (first) {
    throw new NattoError("BadRequest", `${first.field}: ${first.message}; ${first.remedy}`, faults);
  }
  if (!metadata || !kindInfo(key.kind).namespaced) return object;
  return { ...object, metadata: { ...metadata, namespace: key.namespace } };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** The parameters as single texts. Throws `BadRequest` for one that is not in `allowed`, or given twice. */
export function queryOf<P extends string>(query: unknown, allowed: readonly P[]): Partial<Record<P, string>> {
  const given = Object.entries(record(query) ?? {});
  const faults = given.flatMap(([name, value]): FieldError[] => {
    if (!(allowed as readonly string[]).includes(name)) {
      const remedy = allowed.length > 0 ? `use ${allowed.join(", ")}` : "this request takes none";
      return [{ field: `?${name}`, message: "unknown query parameter", remedy }];
    }
    if (typeof value === "string") return [];
    return [{ field: `?${name}`, message: "given more than once", remedy: "give it once" }];
  });
  const [first] = faults;
  if (first) throw new NattoError("BadRequest", `${first.field}: ${first.message}; ${first.remedy}`, faults);
  return Object.fromEntries(given) as Partial<Record<P, string>>;
}

/** Whether `?dryRun=All` is given. */
export function isDryRun(dryRun: string | undefined): boolean {
  if (dryRun === undefined) return false;
  if (dryRun === "All") return true;
  throw new NattoError("BadRequest", `?dryRun: found "${dryRun}"; use dryRun=All, or leave it out`);
}

/** Whether `?watch` is given. */
export function isWatch(watch: string | undefined): boolean {
  if (watch === undefined || watch === "false" || watch === "0") return false;
  if (watch === "true" || watch === "1") return true;
  throw new NattoError("BadRequest", `?watch: found "${watch}"; use watch=true, or leave it out`);
}

/** The name that `?fieldSelector=metadata.name=NAME` selects. */
export function selectedName(fieldSelector: string | undefined): string | undefined {
  if (fieldSelector === undefined) return undefined;
  const match = /^metadata\.name==?([^=,]+)$/.exec(fieldSelector);
  if (match) return match[1];
  throw new NattoError(
    "BadRequest",
    `?fieldSelector: found "${fieldSelector}"; only metadata.name=NAME can be selected`,
  );
}
