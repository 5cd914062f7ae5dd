/**
 * Backups: what of an object is kept, in which order, and how it comes back. Kept is what people declare, and the placements, which cannot be
 * planned again from it: who owns which slot of which address. Everything else follows from these or is reported anew: node
 * configurations, heartbeats, statuses.
 */
import { isDeepStrictEqual } from "node:util";
import { asNattoError, NattoError } from "../errors.ts";
import type { Cell } from "../model/cell.ts";
import type { AnyObject, Kind } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import { getSound } from "../store/object-codec.ts";
import { keyOf, keyText, type Store, type StoreChange } from "../store/store.ts";
import { DECLARED_KINDS } from "./targets.ts";

/** In the order in which they are written down and come back. */
export const BACKUP_KINDS: readonly Kind[] = [...DECLARED_KINDS, "Placement"];

/** How often a unit is read again when others keep changing it in between. */
const MAX_ATTEMPTS = 8;

/** An object as a backup has it: its identity, and what was declared; the fields in a fixed order. */
export function backedUp({ apiVersion, kind, metadata, spec }: AnyObject): object {
  const { name, namespace, labels, annotations, uid, generation, creationTimestamp } = metadata;
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: sorted(labels),
      annotations: sorted(annotations),
      uid,
      generation,
      creationTimestamp,
    },
    spec,
  };
}

/**
 * Objects that come back in one transaction: a gateway with its placement, so that no controller finds one without the other and
 * plans the gateway anew; else a single object.
 */
export type Unit = readonly AnyObject[];

export interface Restoration {
  readonly units: readonly Unit[];
  /** What a backup may hold and that is not restored. */
  readonly left: readonly { readonly object: AnyObject; readonly why: string }[];
}

/** Sorts the objects of a backup into units, in the order of `BACKUP_KINDS`. */
export function restorationOf(objects: readonly AnyObject[]): Restoration {
  const byKey = new Map(objects.map((object) => [keyText(keyOf(object)), object]));
  const siblingOf = ({ metadata }: AnyObject, kind: Kind): AnyObject | undefined =>
    byKey.get(keyText({ kind, namespace: metadata.namespace, name: metadata.name }));
  const units = BACKUP_KINDS.filter((kind) => kind !== "Placement").flatMap((kind) =>
    objects
      .filter((object) => object.kind === kind)
      .map((object): Unit => {
        const placement = kind === "NatGateway" ? siblingOf(object, "Placement") : undefined;
        return placement ? [placement, object] : [object];
      }),
  );
  const left = objects.flatMap((object) => {
    if (!BACKUP_KINDS.includes(object.kind)) return [{ object, why: "follows from the others" }];
    if (object.kind !== "Placement" || siblingOf(object, "NatGateway")) return [];
    return [{ object, why: "its NatGateway is not in the backup" }];
  });
  return { units, left };
}

export type Outcome = "restored" | "unchanged" | "overwritten" | "kept";

export interface RestoreOptions {
  /** Give objects that exist and differ what the backup says; they keep their own identity. Otherwise they are kept as they are. */
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

/** Restores a unit, all or nothing; says what became of each object. Throws `Conflict` when others kept changing it, and whatever the store throws. */
export async function restoreUnit(
  store: Store,
  unit: Unit,
  { overwrite, dryRun }: RestoreOptions,
): Promise<readonly Outcome[]> {
  for (let attempt = 1; ; attempt++) {
    const live = await Promise.all(unit.map((object) => getSound<Kind>(store, keyOf(object))));
    const outcomes = unit.map((object, i) => outcomeOf(object, live[i], overwrite));
    const changes = unit.flatMap((object, i) => changeFor(object, live[i], outcomes[i]) ?? []);
    if (dryRun || changes.length === 0) return outcomes;
    try {
      await store.commit(changes);
      return outcomes;
    } catch (thrown) {
      const { code } = asNattoError(thrown);
      if (code !== "Conflict" && code !== "AlreadyExists" && code !== "NotFound") throw thrown;
      if (attempt < MAX_ATTEMPTS) continue;
      throw new NattoError(
        "Conflict",
        `${unit.map(nameOf).join(" and ")} changed during each of ${MAX_ATTEMPTS} attempts; find out who keeps writing, then import again`,
        [],
        thrown,
      );
    }
  }
}

/**
 * Annotation of a Cell whose gateways are being restored. Until they are all there it takes changes without waves: a canary would doubt, and a
 * rollout set aside, what has come back only in part.
 */
export const RESTORING = "natto.dev/restoring";

function opened(cell: Cell): Cell {
  return {
    ...cell,
    metadata: { ...cell.metadata, annotations: { ...cell.metadata.annotations, [RESTORING]: "true" } },
    spec: { ...cell.spec, rollout: { ...cell.spec.rollout, canaries: 0 } },
  };
}

/** The cells of a backup that are open for restoring. */
export async function openCells(store: Store, objects: readonly AnyObject[]): Promise<readonly Cell[]> {
  const open = new Set<string>();
  for (const { metadata } of (await store.list({ kind: "Cell" })).items) {
    if (metadata.annotations[RESTORING] !== undefined) open.add(metadata.name);
  }
  return objects.flatMap((object) =>
    object.kind === "Cell" && open.has(object.metadata.name) ? [object] : [],
  );
}

/** Whether every node of the cell has been given all gateways of the backup that are declared. */
export async function isPublished(store: Store, cell: Cell, objects: readonly AnyObject[]): Promise<boolean> {
  const [{ items: gateways }, { items: configs }] = await Promise.all([
    store.list({ kind: "NatGateway" }),
    store.list({ kind: "NodeConfig" }),
  ]);
  const keyTexts = (all: readonly AnyObject[]): Set<string> =>
    new Set(all.map((object) => keyText(keyOf(object))));
  const declared = keyTexts(gateways.filter(({ spec }) => spec.cell === cell.metadata.name));
  const restored = [...keyTexts(objects)].filter((key) => declared.has(key));
  const ofCell = configs.filter(({ spec }) => spec.cell === cell.metadata.name);
  return ofCell.every(({ spec }) => {
    const given = new Set(
      spec.gateways.map(({ namespace, name }) => keyText({ kind: "NatGateway", namespace, name })),
    );
    return restored.every((key) => given.has(key));
  });
}

/** Gives the cell the spec that the backup has. */
export async function closeCell(store: Store, cell: Cell): Promise<void> {
  await store.update<"Cell">({ ...cell, metadata: { ...cell.metadata, resourceVersion: "" } });
}

function outcomeOf(object: AnyObject, live: AnyObject | undefined, overwrite: boolean): Outcome {
  if (!live || live.metadata.annotations[RESTORING] !== undefined) return "restored";
  if (isDeepStrictEqual(declaredParts(object), declaredParts(live))) return "unchanged";
  return overwrite ? "overwritten" : "kept";
}

function changeFor(
  object: AnyObject,
  live: AnyObject | undefined,
  outcome: Outcome | undefined,
): StoreChange | undefined {
  if (outcome === "restored" && live) return undefined;
  if (outcome === "restored") {
    return { action: "restore", draft: object.kind === "Cell" ? opened(object) : object };
  }
  if (outcome !== "overwritten" || !live) return undefined;
  const { resourceVersion } = live.metadata;
  return { action: "update", draft: { ...object, metadata: { ...object.metadata, resourceVersion } } };
}

function declaredParts({ metadata: { labels, annotations }, spec }: AnyObject): unknown {
  return JSON.parse(JSON.stringify({ labels, annotations, spec }));
}

function sorted(map: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}
