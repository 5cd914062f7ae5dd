/**
 * Manifests: the objects in a YAML or JSON text, each with the place where it stands, so that an error can name file, document
 * and line. Pure; `manifest-files.ts` reads the texts.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from "yaml";
import { type ErrorCode, type FieldError, NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import { sentenceOf } from "./error-text.ts";

/** A text and what people call it: its path, or `standard input`. */
export interface ManifestText {
  readonly source: string;
  readonly text: string;
}

/** One object as it was written, unchecked. */
export interface Manifest {
  readonly source: string;
  /** Counts the documents of the text from 1. */
  readonly document: number;
  /** The line on which the object begins, from 1. */
  readonly line: number;
  readonly input: unknown;
  /** The line of a field such as `spec.sources[2]`, or of the nearest field above it that exists. */
  lineOf(field: string): number;
}

/**
 * Splits a text into the objects of its documents; empty documents are left out and a `List` is taken apart. Throws
 * `BadRequest` with line and column when it is not YAML (of which JSON is a subset).
 */
export function parseManifests({ source, text }: ManifestText): Manifest[] {
  const lineCounter = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter, prettyErrors: false, stringKeys: true });
  const manifests: Manifest[] = [];
  for (const [index, document] of [...documents].entries()) {
    const [fault] = [...document.errors, ...document.warnings];
    if (fault) throw syntaxError(source, fault.message, lineCounter, fault.pos[0]);
    const root = document.contents;
    if (root === null || (isScalar(root) && root.value === null)) continue;
    manifests.push(...objectsOf(source, index + 1, document, root, lineCounter));
  }
  return manifests;
}

function objectsOf(
  source: string,
  number: number,
  document: Document.Parsed,
  root: Node,
  lineCounter: LineCounter,
): Manifest[] {
  const value = toValue(source, document, root, lineCounter);
  const make = (node: Node, input: unknown): Manifest => ({
    source,
    document: number,
    line: lineCounter.linePos(node.range?.[0] ?? 0).line,
    input,
    lineOf: (field) => lineCounter.linePos(locate(document, node, field)).line,
  });
  const items = isMap(root) ? root.get("items", true) : undefined;
  if (!isList(value) || !isSeq(items)) return [make(root, value)];
  return value.items.map((item, i) => make(items.items[i] as Node, item));
}

function toValue(source: string, document: Document.Parsed, root: Node, lineCounter: LineCounter): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    throw syntaxError(source, message, lineCounter, root.range?.[0] ?? 0);
  }
}

function isList(value: unknown): value is { readonly items: readonly unknown[] } {
  if (typeof value !== "object" || value === null) return false;
  return "kind" in value && value.kind === "List" && "items" in value && Array.isArray(value.items);
}

function syntaxError(source: string, message: string, lineCounter: LineCounter, offset: number): NattoError {
  const { line, col } = lineCounter.linePos(offset);
  return new NattoError("BadRequest", `${source}:${line}:${col}: not valid YAML: ${message}`);
}

/** The offset of a field below `root`; as deep as the path can be followed. */
function locate(document: Document.Parsed, root: Node, field: string): number {
  let offset = root.range?.[0] ?? 0;
  let node: unknown = root;
  let rest: readonly string[] = field.split(/[.[\]]+/).filter((part) => part !== "");
  while (rest.length > 0) {
    const step: Step | undefined = descend(isAlias(node) ? node.resolve(document) : node, rest);
    if (!step) break;
    ({ offset, node, rest } = step);
  }
  return offset;
}

interface Step {
  readonly offset: number;
  readonly node: unknown;
  readonly rest: readonly string[];
}

/** One step down the path. The longest key that fits is taken, because label names have dots in them. */
function descend(node: unknown, path: readonly string[]): Step | undefined {
  if (isSeq(node)) {
    const item = node.items[Number(path[0])] as Node | undefined;
    return item?.range ? { offset: item.range[0], node: item, rest: path.slice(1) } : undefined;
  }
  if (!isMap(node)) return undefined;
  for (let length = path.length; length > 0; length--) {
    const name = path.slice(0, length).join(".");
    const pair = node.items.find(({ key }) => isScalar(key) && key.value === name);
    if (pair && isScalar(pair.key) && pair.key.range) {
      return { offset: pair.key.range[0], node: pair.value, rest: path.slice(length) };
    }
  }
  return undefined;
}

/** `FILE:LINE: document N`: where an object stands. */
export function placeOf(manifest: Manifest): string {
  return `${manifest.source}:${manifest.line}: document ${manifest.document}`;
}

/** An error about a manifest: says where it stands, and on which line each wrong field does. */
export function manifestError(
  manifest: Manifest,
  code: ErrorCode,
  message: string,
  details: readonly FieldError[] = [],
): NattoError {
  const placed = details.map((d) => ({ ...d, field: `${d.field} (line ${manifest.lineOf(d.field)})` }));
  return new NattoError(code, `${placeOf(manifest)}: ${message}`, placed);
}

/** An error about the object of a manifest, with its place added. */
export function placeError(manifest: Manifest, error: NattoError): NattoError {
  return manifestError(manifest, error.code, sentenceOf(error), error.details);
}

/** A manifest that is valid by itself, and its object with all defaults. */
export interface CheckedManifest {
  readonly manifest: Manifest;
  readonly object: AnyObject;
}

/** Validates one manifest by itself, as in `validateObject`, with errors that say where it stands. */
export function checkManifest(manifest: Manifest): CheckedManifest {
  try {
    return { manifest, object: validateObject(manifest.input) };
  } catch (thrown) {
    throw thrown instanceof NattoError ? placeError(manifest, thrown) : thrown;
  }
}
