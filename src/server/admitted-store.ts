/**
 * The store behind its door: every write is checked against the other objects first (`admission.ts`). Checks and writes of one
 * process take turns, so two objects that contradict each other cannot slip in side by side.
 */
import { isDeepStrictEqual } from "node:util";
import { type FieldError, NattoError } from "../errors.ts";
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import {
  checkPrecondition,
  createdObject,
  statusUpdatedObject,
  updatedObject,
} from "../store/object-lifecycle.ts";
import { notFound } from "../store/object-store.ts";
import { type Draft, keyOf, type ObjectKey, type Store } from "../store/store.ts";
import {
  cellDeletionFaults,
  gatewayFaults,
  nodeFaults,
  poolDeletionFaults,
  poolFaults,
} from "./admission.ts";
import { makeCollection } from "./collection.ts";

export type Write = "create" | "update" | "updateStatus";

export interface AdmittedStore extends Store {
  /** Does all that the write would do, except writing; returns what would be stored. */
  preview<K extends Kind>(write: Write, draft: Draft<K>): Promise<ObjectOf<K>>;
}

export function makeAdmittedStore(store: Store): AdmittedStore {
  const inTurn = makeTurns();
  const world = makeWorld(store);

  async function admit(object: AnyObject, stored: AnyObject | undefined): Promise<void> {
    // Labels may be changed even of an object that a rule, newer than the object, would refuse.
    if (stored && isDeepStrictEqual(stored.spec, object.spec)) return;
    reject(object, stored ? "changed" : "created", await writeFaults(object, world));
  }

  async function preview<K extends Kind>(write: Write, draft: Draft<K>): Promise<ObjectOf<K>> {
    const key = keyOf(draft);
    const stored = await store.get(key);
    const object = previewed(write, draft, key, stored);
    if (write !== "updateStatus") await admit(object, write === "create" ? undefined : stored);
    return object as ObjectOf<K>;
  }

  return {
    ...store,
    create: (draft) =>
      inTurn(draft.kind, async () => {
        if (RULED.has(draft.kind)) await admit(createdObject(draft, NOT_BORN), undefined);
        return store.create(draft);
      }),
    update: (draft) =>
      inTurn(draft.kind, async () => {
        const stored = RULED.has(draft.kind) ? await store.get(keyOf(draft)) : undefined;
        if (stored) await admit(updatedObject(stored, draft), stored);
        return store.update(draft);
      }),
    delete: (key, resourceVersion) =>
      inTurn(key.kind, async () => {
        const stored = await store.get<Kind>(key);
        if (stored) reject(stored, "deleted", await deletionFaults(stored, world));
        return store.delete(key, resourceVersion);
      }),
    preview: (write, draft) => inTurn(draft.kind, () => preview(write, draft)),
  };
}

/** Kinds whose objects can be rejected because of others. */
const RULED: ReadonlySet<Kind> = new Set(["AddressPool", "NatGateway", "GatewayNode"]);
/** Kinds that rules look at, or are about. */
const CONCERNED: ReadonlySet<Kind> = new Set([...RULED, "Cell", "Placement"]);

const NOT_BORN = { uid: "", creationTimestamp: "" };

function previewed(write: Write, draft: AnyObject, key: ObjectKey, stored: AnyObject | undefined): AnyObject {
  if (write === "create") {
    if (!stored) return createdObject(draft, NOT_BORN);
    throw new NattoError(
      "AlreadyExists",
      `${nameOf(stored)} already exists; update it, or choose another name`,
    );
  }
  if (!stored) throw notFound(key);
  checkPrecondition(stored, draft.metadata.resourceVersion);
  return write === "update" ? updatedObject(stored, draft) : statusUpdatedObject(stored, draft);
}

function reject(object: AnyObject, participle: string, faults: readonly FieldError[]): void {
  const [first] = faults;
  if (!first) return;
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : "";
  throw new NattoError(
    "Rejected",
    `${nameOf(object)} cannot be ${participle}: ${first.field}: ${first.message}; ${first.remedy}${more}`,
    faults,
  );
}

type World = ReturnType<typeof makeWorld>;

function makeWorld(store: Store) {
  return {
    cells: makeCollection(store, "Cell"),
    nodes: makeCollection(store, "GatewayNode"),
    pools: makeCollection(store, "AddressPool"),
    gateways: makeCollection(store, "NatGateway"),
    placements: makeCollection(store, "Placement"),
  };
}

async function writeFaults(object: AnyObject, world: World): Promise<readonly FieldError[]> {
  switch (object.kind) {
    case "AddressPool":
      return poolFaults(object, await world.pools.refresh(), await world.placements.refresh());
    case "NatGateway": {
      const pools = await world.pools.refresh();
      const pool = pools.find(({ metadata }) => metadata.name === object.spec.addresses.pool);
      return gatewayFaults(object, await world.gateways.refresh(), pool, await world.placements.refresh());
    }
    case "GatewayNode": {
      const cells = await world.cells.refresh();
      const cell = cells.find(({ metadata }) => metadata.name === object.spec.cell);
      return nodeFaults(object, await world.nodes.refresh(), cell);
    }
    default:
      return [];
  }
}

async function deletionFaults(object: AnyObject, world: World): Promise<readonly FieldError[]> {
  switch (object.kind) {
    case "AddressPool":
      return poolDeletionFaults(object, await world.placements.refresh());
    case "Cell":
      return cellDeletionFaults(object, await world.nodes.refresh(), await world.gateways.refresh());
    default:
      return [];
  }
}

/** Runs tasks about kinds that rules concern one after the other, in the order in which they come; others at once. */
function makeTurns(): <T>(kind: Kind, task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (kind, task) => {
    if (!CONCERNED.has(kind)) return task();
    const result = last.then(task);
    last = result.catch(() => {});
    return result;
  };
}
