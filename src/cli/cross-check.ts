/** The rules that involve several objects, checked among those of a set of manifests alone: what `apply --dry-run` can tell. Pure. */
import type { FieldError, NattoError } from "../errors.ts";
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import { gatewayFaults, nodeFaults, poolFaults } from "../server/admission.ts";
import { floatFaults, forwardFaults, type Holders } from "../server/static-admission.ts";
import { type CheckedManifest, manifestError } from "./manifest.ts";

export interface CrossChecked {
  readonly valid: readonly CheckedManifest[];
  readonly faults: readonly NattoError[];
}

/** Sorts out the manifests whose objects contradict others of the set. */
export function crossCheck(manifests: readonly CheckedManifest[]): CrossChecked {
  const objects = manifests.map(({ object }) => object);
  const valid: CheckedManifest[] = [];
  const faults: NattoError[] = [];
  for (const checked of manifests) {
    const details = faultsAmong(checked.object, objects);
    if (details.length === 0) valid.push(checked);
    else {
      const message = `${nameOf(checked.object)} contradicts other objects`;
      faults.push(manifestError(checked.manifest, "Rejected", message, details));
    }
  }
  return { valid, faults };
}

function holdersAmong(objects: readonly AnyObject[]): Holders {
  return {
    placements: [],
    floats: ofKind(objects, "FloatingAddress"),
    forwards: ofKind(objects, "PortForward"),
  };
}

function poolNamed(objects: readonly AnyObject[], name: string | undefined) {
  return ofKind(objects, "AddressPool").find(({ metadata }) => metadata.name === name);
}

function faultsAmong(object: AnyObject, objects: readonly AnyObject[]): readonly FieldError[] {
  switch (object.kind) {
    case "AddressPool":
      return poolFaults(object, ofKind(objects, "AddressPool"), holdersAmong(objects));
    case "GatewayNode": {
      const cell = ofKind(objects, "Cell").find(({ metadata }) => metadata.name === object.spec.cell);
      return nodeFaults(object, ofKind(objects, "GatewayNode"), cell);
    }
    case "FloatingAddress":
      return floatFaults(object, holdersAmong(objects), poolNamed(objects, object.spec.pool));
    case "PortForward":
      return forwardFaults(object, holdersAmong(objects), poolNamed(objects, object.spec.public.pool));
    case "NatGateway": {
      const pool = poolNamed(objects, object.spec.addresses.pool);
      return gatewayFaults(object, ofKind(objects, "NatGateway"), pool, []);
    }
    default:
      return [];
  }
}

function ofKind<K extends Kind>(objects: readonly AnyObject[], kind: K): ObjectOf<K>[] {
  return objects.filter((object): object is AnyObject & ObjectOf<K> => object.kind === kind);
}
