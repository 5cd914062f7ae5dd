/** Objects as text under keys, and what is found there that is no object. */
import { NattoError } from "../errors.ts";
import { type AnyObject, isKind, type Kind, type ObjectOf } from "../model/kinds.ts";
import { API_VERSION } from "../model/meta.ts";
import { type Damage, keyText, type ObjectKey, type Store } from "./store.ts";

export type Decoded<K extends Kind> =
  | { readonly object: ObjectOf<K>; readonly damage?: undefined }
  | { readonly damage: Damage };

/** The text of an object; its resourceVersion is that of the key and is not part of it. */
export function encode(object: AnyObject): string {
  return JSON.stringify({ ...object, metadata: { ...object.metadata, resourceVersion: "" } });
}

/**
 * Reads the value of a key. Only what every part of Natto relies on is checked: that it is an object of this kind, name and
 * namespace with a spec. Its fields may be those of a newer version.
 */
export function decode<K extends Kind>(key: string, value: string, revision: number): Decoded<K> {
  const resourceVersion = String(revision);
  const found = parsed(value);
  const reason = typeof found === "string" ? found : faultOf(found, key);
  if (typeof found === "string" || reason !== undefined) {
    return { damage: { key: keyFrom(key), resourceVersion, reason: reason ?? "" } };
  }
  const object = found as ObjectOf<K>;
  object.metadata.resourceVersion = resourceVersion;
  return { object };
}

/** The object of a key. Throws `Damaged`. */
export function decodeOrThrow<K extends Kind>(key: string, value: string, revision: number): ObjectOf<K> {
  const decoded = decode<K>(key, value, revision);
  if (decoded.damage) throw damagedError(decoded.damage);
  return decoded.object;
}

/** The object of a key of which only the key is known: stands for the last state of what was damaged when it was deleted. */
export function decodeOrStub<K extends Kind>(key: string, value: string, revision: number): ObjectOf<K> {
  const decoded = decode<K>(key, value, revision);
  if (!decoded.damage) return decoded.object;
  const { kind, namespace, name } = decoded.damage.key;
  return {
    apiVersion: API_VERSION,
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {},
      annotations: {},
      uid: "",
      resourceVersion: String(revision),
      generation: 0,
      creationTimestamp: "",
    },
    spec: {},
  } as unknown as ObjectOf<K>;
}

/** The object; undefined also when it is damaged, for those who would put another into its place. */
export async function getSound<K extends Kind>(
  store: Store,
  key: ObjectKey<K>,
): Promise<ObjectOf<K> | undefined> {
  try {
    return await store.get(key);
  } catch (thrown) {
    if (thrown instanceof NattoError && thrown.code === "Damaged") return undefined;
    throw thrown;
  }
}

export function damagedError({ key, reason }: Damage): NattoError {
  return new NattoError("Damaged", describeDamage({ key, reason }));
}

/** A sentence for people, with the remedy. */
export function describeDamage({ key, reason }: Pick<Damage, "key" | "reason">): string {
  return (
    `what is stored under the key ${keyText(key)} is no object: ${reason}; ` +
    "apply the object again from its file or a backup, or delete it"
  );
}

/** The parsed object, or what is wrong with the text. */
function parsed(value: string): Record<string, unknown> | string {
  try {
    const found: unknown = JSON.parse(value);
    return isRecord(found) ? found : `found ${excerpt(value)}, expected an object`;
  } catch {
    return value === "" ? "found nothing, expected JSON" : `found ${excerpt(value)}, which is not JSON`;
  }
}

function faultOf(found: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const { kind, metadata, spec } = found;
  if (!isRecord(metadata)) return "it has no metadata";
  const { name, namespace } = metadata;
  const own = `${kind}/${namespace ?? ""}/${name}`;
  if (own !== key) return `it calls itself ${excerpt(own)}`;
  if (!isRecord(spec)) return "it has no spec";
  if (!isRecord(metadata.labels) || !isRecord(metadata.annotations)) {
    return "its metadata has no labels or annotations";
  }
  return undefined;
}

function keyFrom(text: string): ObjectKey {
  const [kind = "", namespace = "", ...name] = text.split("/");
  if (!isKind(kind)) throw new NattoError("Internal", `the key ${text} is of no kind`);
  return { kind, namespace: namespace === "" ? undefined : namespace, name: name.join("/") };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(text: string): string {
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}
