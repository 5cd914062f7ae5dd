/** Reads what targets name from the store. */
import { NattoError } from "../errors.ts";
import { type AnyObject, kindInfo } from "../model/kinds.ts";
import { DEFAULT_NAMESPACE } from "../model/meta.ts";
import { describeDamage } from "../store/object-codec.ts";
import type { Store } from "../store/store.ts";
import { say } from "./output.ts";
import { fullName, type Target } from "./targets.ts";

/** The objects of a target, sorted by namespace and name; tells of those that are damaged. Throws `NotFound` when it names one that does not exist. */
export async function fetchTarget(store: Store, target: Target): Promise<readonly AnyObject[]> {
  const { kind, namespace, name } = target;
  if (name === undefined) {
    const { items, damaged } = await store.list({ kind, namespace });
    for (const damage of damaged) say(`natto: ${describeDamage(damage)}`);
    return items;
  }
  const object = await store.get({ kind, namespace, name });
  if (object) return [object];
  throw missing(target, name);
}

/** Says that an object does not exist, and where to look. */
export function missing({ kind, namespace }: Target, name: string): NattoError {
  const all = kindInfo(kind).namespaced ? " -A" : "";
  return new NattoError(
    "NotFound",
    `${fullName(kind, namespace, name)} does not exist; natto get ${kindInfo(kind).plural}${all} lists those that do`,
  );
}

/** Says that there is nothing to show. */
export function nothingFound(targets: readonly Target[]): string {
  const kinds = [...new Set(targets.map(({ kind }) => kindInfo(kind).plural))].join(", ");
  const namespace = targets.find((target) => target.namespace !== undefined)?.namespace;
  if (namespace === undefined) return `no ${kinds}`;
  const hint = namespace === DEFAULT_NAMESPACE ? "; -A shows all namespaces" : "";
  return `no ${kinds} in namespace ${namespace}${hint}`;
}
