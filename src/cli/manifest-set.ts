/** Checks of a whole set of manifests before anything is written: each by itself, and that no object stands there twice. Pure. */
import { asNattoError, type NattoError } from "../errors.ts";
import { isKind, kindInfo } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import { keyOf, keyText } from "../store/store.ts";
import { type CheckedManifest, checkManifest, type Manifest, manifestError, placeOf } from "./manifest.ts";
import { isJsonObject } from "./three-way.ts";

export interface CheckedSet {
  /** What may be applied, in the order of the files. */
  readonly valid: readonly CheckedManifest[];
  /** What is wrong with the others, at least one error for each. */
  readonly faults: readonly NattoError[];
}

export interface Allowed {
  /** Whether objects may be of kinds that Natto writes itself, as in a backup. */
  readonly system: boolean;
}

/**
 * Checks all manifests; `namespace` (from `-n`) is given to namespaced objects that name none. Of an object that stands in the set
 * twice neither version is valid, for nobody can tell which one is meant.
 */
export function checkManifests(
  manifests: readonly Manifest[],
  namespace: string | undefined,
  allowed: Allowed = { system: false },
): CheckedSet {
  const faults: NattoError[] = [];
  const byKey = new Map<string, CheckedManifest[]>();
  for (const manifest of manifests) {
    try {
      const checked = checkDeclared(inNamespace(manifest, namespace), namespace, allowed);
      const key = keyText(keyOf(checked.object));
      byKey.set(key, [...(byKey.get(key) ?? []), checked]);
    } catch (thrown) {
      faults.push(asNattoError(thrown));
    }
  }
  const valid: CheckedManifest[] = [];
  for (const [first, ...others] of byKey.values()) {
    if (!first) continue;
    if (others.length === 0) valid.push(first);
    else faults.push(...others.map((other) => duplicateError(first, other)));
  }
  return { valid, faults };
}

/** Fills in the namespace from `-n`, where it is missing and the kind has one. */
function inNamespace(manifest: Manifest, namespace: string | undefined): Manifest {
  const { input } = manifest;
  if (namespace === undefined || !isJsonObject(input) || !isJsonObject(input.metadata)) return manifest;
  if (input.metadata.namespace !== undefined || !isNamespaced(input.kind)) return manifest;
  return { ...manifest, input: { ...input, metadata: { ...input.metadata, namespace } } };
}

function checkDeclared(
  manifest: Manifest,
  namespace: string | undefined,
  { system }: Allowed,
): CheckedManifest {
  const kind = isJsonObject(manifest.input) ? manifest.input.kind : undefined;
  if (kind === "Lab") {
    throw manifestError(
      manifest,
      "Rejected",
      `a Lab is not stored; bring it up with natto lab up ${manifest.source}`,
    );
  }
  const checked = checkManifest(manifest);
  const { object } = checked;
  if (kindInfo(object.kind).system && !system) {
    const message = `${nameOf(object)} is of a kind that Natto writes itself; remove it from the file and declare what it follows from (NatGateway, GatewayNode, Cell)`;
    throw manifestError(manifest, "Rejected", message);
  }
  if (
    namespace !== undefined &&
    kindInfo(object.kind).namespaced &&
    object.metadata.namespace !== namespace
  ) {
    throw manifestError(manifest, "Rejected", `${nameOf(object)} is not in namespace ${namespace}`, [
      {
        field: "metadata.namespace",
        message: `found ${JSON.stringify(object.metadata.namespace)}, but -n ${namespace} was given`,
        remedy: "leave out -n or correct the field",
      },
    ]);
  }
  return checked;
}

function isNamespaced(kind: unknown): boolean {
  return isKind(kind) && kindInfo(kind).namespaced;
}

function duplicateError(first: CheckedManifest, other: CheckedManifest): NattoError {
  const message = `${nameOf(other.object)} stands here for the second time, first in ${placeOf(first.manifest)}; remove one of the two (neither was taken)`;
  return manifestError(other.manifest, "Rejected", message);
}
