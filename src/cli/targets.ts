/** Targets: what the words `KIND [NAME…]`, `KIND/NAME` and `KIND/NAMESPACE/NAME` on a command line name. Pure. */
import { NattoError } from "../errors.ts";
import { findKind, KINDS, type Kind, kindInfo } from "../model/kinds.ts";
import { DEFAULT_NAMESPACE } from "../model/meta.ts";
import { nearestWord } from "./suggest.ts";

/** All objects of a kind (without `name`), or one. Without `namespace`: of all namespaces, or the kind has none. */
export interface Target {
  readonly kind: Kind;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
}

export interface Scope {
  /** From `-n`; undefined when it was not given. */
  readonly namespace: string | undefined;
  readonly allNamespaces: boolean;
}

/** Kinds that people declare: what `all` means. */
export const DECLARED_KINDS: readonly Kind[] = KINDS.filter((kind) => !kindInfo(kind).system);

/** The word for a kind in the output: `natgateway.natto.dev/team-a/web`. Such names are understood as targets, too. */
const NAME_SUFFIX = ".natto.dev";

/** An object's name in output, with its kind. */
export function fullName(kind: Kind, namespace: string | undefined, name: string): string {
  return `${kind.toLowerCase()}${NAME_SUFFIX}/${namespace === undefined ? "" : `${namespace}/`}${name}`;
}

/** Reads the words of a command line. Throws `BadRequest` with what is allowed. */
export function parseTargets(words: readonly string[], scope: Scope): Target[] {
  const [first, ...names] = words;
  if (first === undefined) throw new NattoError("BadRequest", `name a kind: ${kindWords()}`);
  if (first.includes("/")) return words.map((word) => slashTarget(word, scope));
  const kinds = first === "all" ? DECLARED_KINDS : first.split(",").map(kindOfWord);
  if (names.length === 0) return kinds.map((kind) => target(kind, undefined, undefined, scope));
  const [kind, ...more] = kinds;
  if (kind === undefined || more.length > 0) {
    throw new NattoError(
      "BadRequest",
      `"${first}" is more than one kind; give names after one kind only, or write KIND/NAME`,
    );
  }
  return names.map((word) => {
    const [left, right, ...rest] = word.split("/");
    if (rest.length > 0) throw malformed(word);
    return right === undefined ? target(kind, undefined, left, scope) : target(kind, left, right, scope);
  });
}

function slashTarget(word: string, scope: Scope): Target {
  const [kindWord, left, right, ...rest] = word.split("/");
  if (!kindWord || !left || rest.length > 0 || right === "") throw malformed(word);
  const kind = kindOfWord(kindWord);
  return right === undefined ? target(kind, undefined, left, scope) : target(kind, left, right, scope);
}

function target(kind: Kind, namespace: string | undefined, name: string | undefined, scope: Scope): Target {
  const { namespaced } = kindInfo(kind);
  if (name === "" || namespace === "") throw malformed(`${namespace ?? ""}/${name ?? ""}`);
  if (!namespaced) {
    if (namespace === undefined) return { kind, namespace: undefined, name };
    throw new NattoError(
      "BadRequest",
      `${kind} belongs to no namespace; write ${kind.toLowerCase()}/${name}`,
    );
  }
  if (namespace !== undefined && scope.namespace !== undefined && namespace !== scope.namespace) {
    throw new NattoError(
      "BadRequest",
      `${namespace}/${name} is not in namespace ${scope.namespace}; leave out -n or correct the name`,
    );
  }
  if (scope.allNamespaces && namespace === undefined) {
    if (name === undefined) return { kind, namespace: undefined, name };
    throw new NattoError(
      "BadRequest",
      `-A and a name do not go together; write -n NAMESPACE or NAMESPACE/${name}`,
    );
  }
  return { kind, namespace: namespace ?? scope.namespace ?? DEFAULT_NAMESPACE, name };
}

/** Finds a kind by any of its names. Throws `BadRequest` with the nearest one. */
export function kindOfWord(word: string): Kind {
  const bare = word.endsWith(NAME_SUFFIX) ? word.slice(0, -NAME_SUFFIX.length) : word;
  const kind = findKind(bare);
  if (kind) return kind;
  const known = KINDS.flatMap((k) => [k.toLowerCase(), kindInfo(k).plural, ...kindInfo(k).short]);
  const near = nearestWord(bare, known);
  const remedy = near ? `did you mean ${near}?` : `use one of ${kindWords()}`;
  throw new NattoError("BadRequest", `there is no kind "${word}"; ${remedy}`);
}

function kindWords(): string {
  return KINDS.map((kind) => [kind.toLowerCase(), ...kindInfo(kind).short].join("|")).join(", ");
}

function malformed(word: string): NattoError {
  return new NattoError(
    "BadRequest",
    `"${word}" does not name an object; write KIND/NAME or KIND/NAMESPACE/NAME, such as gateway/team-a/web`,
  );
}
