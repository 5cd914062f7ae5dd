/**
 * The store behind its door: every write is checked against the other objects first (`admission.ts`). Checks and writes of one
 * process take turns, and an epoch in the store shows when another server was faster, so two objects that contradict each other
 * cannot slip in side by side.
 */
import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { asNattoError, type FieldError, NattoError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
import type { Epoch } from "../model/epoch.ts";
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import { API_VERSION } from "../model/meta.ts";
import { nameOf, validateObject } from "../model/validate.ts";
import { getSound } from "../store/object-codec.ts";
import { alreadyExists, notFound } from "../store/object-commit.ts";
import {
  checkPrecondition,
  createdObject,
  statusUpdatedObject,
  updatedObject,
} from "../store/object-lifecycle.ts";
import { singleWrites } from "../store/single-writes.ts";
import {
  type Draft,
  type Fence,
  keyOf,
  keyText,
  type ObjectKey,
  type Store,
  type StoreChange,
} from "../store/store.ts";
import {
  cellDeletionFaults,
  gatewayFaults,
  nodeFaults,
  poolDeletionFaults,
  poolFaults,
} from "./admission.ts";
import { type Collection, makeCollection } from "./collection.ts";
import { floatFaults, forwardFaults, type Holders } from "./static-admission.ts";

export type Write = "create" | "update" | "updateStatus";

export interface AdmittedStore extends Store {
  /** Does all that the write would do, except writing; returns what would be stored. */
  preview<K extends Kind>(write: Write, draft: Draft<K>): Promise<ObjectOf<K>>;
  fenced(fence: Fence): AdmittedStore;
}

export function makeAdmittedStore(store: Store): AdmittedStore {
  return admitted(store, { inTurn: makeTurns(), world: makeWorld(store) });
}

/** What all writers of one process share. */
interface Door {
  readonly inTurn: ReturnType<typeof makeTurns>;
  readonly world: World;
}

function admitted(store: Store, door: Door): AdmittedStore {
  const { inTurn, world } = door;
  return {
    ...store,
    ...singleWrites((changes) => inTurn(changes.map(kindOf), () => commitAdmitted(store, world, changes))),
    fenced: (fence) => admitted(store.fenced(fence), door),
    preview: (write, draft) => inTurn([draft.kind], () => preview(store, world, write, draft)),
  };
}

/**
 * Checks the changes against the world that they make together, and writes them only if no server has admitted anything since the look
 * at the world: each admitted write counts the epoch in its own transaction. Otherwise looks again.
 */
async function commitAdmitted(
  store: Store,
  world: World,
  changes: readonly StoreChange[],
): Promise<readonly AnyObject[]> {
  for (let attempt = 1; ; attempt++) {
    const epoch = await currentEpoch(store, changes);
    const outcomes = await outcomesOf(store, changes);
    const contested = await checkAll(outcomes, world);
    if (!contested) return store.commit(changes);
    try {
      const [, ...objects] = await store.commit([counted(epoch), ...changes]);
      return objects;
    } catch (thrown) {
      const { code } = asNattoError(thrown);
      const overtaken = code === "Conflict" || code === "AlreadyExists" || code === "NotFound";
      if (!overtaken || (await isCurrent(store, epoch))) throw thrown;
      if (attempt >= MAX_ATTEMPTS) throw tooBusy(thrown);
    }
    await delay(Math.random() * RETRY_MS);
  }
}

/** A write that another server overtook is checked anew, at most so often. */
const MAX_ATTEMPTS = 100;
const RETRY_MS = 10;

const ADMISSION = { kind: "Epoch", name: "admission" } as const;

async function currentEpoch(store: Store, changes: readonly StoreChange[]): Promise<Epoch | undefined> {
  return changes.some((change) => CONCERNED.has(kindOf(change))) ? store.get(ADMISSION) : undefined;
}

async function isCurrent(store: Store, epoch: Epoch | undefined): Promise<boolean> {
  return (await store.get(ADMISSION))?.metadata.resourceVersion === epoch?.metadata.resourceVersion;
}

function counted(epoch: Epoch | undefined): StoreChange {
  if (epoch) {
    return { action: "update", draft: { ...epoch, spec: { count: epoch.spec.count + 1 } } };
  }
  const { kind, name } = ADMISSION;
  const draft = validateObject({ apiVersion: API_VERSION, kind, metadata: { name }, spec: { count: 1 } });
  return { action: "create", draft };
}

function tooBusy(cause: unknown): NattoError {
  return new NattoError(
    "Unavailable",
    `other servers admitted something else at each of ${MAX_ATTEMPTS} attempts; nothing was written; try again later`,
    [],
    cause,
  );
}

/** What a change makes of an object: `after` undefined: deletes it. */
interface ChangeOutcome {
  readonly key: ObjectKey;
  readonly before: AnyObject | undefined;
  readonly after: AnyObject | undefined;
}

/** Only for kinds that rules concern; what cannot be told, the write itself will tell. */
async function outcomesOf(store: Store, changes: readonly StoreChange[]): Promise<readonly ChangeOutcome[]> {
  const outcomes: ChangeOutcome[] = [];
  for (const change of changes) {
    const key = change.action === "delete" ? change.key : keyOf(change.draft);
    if (!CONCERNED.has(key.kind) || change.action === "updateStatus") continue;
    if (change.action === "create" || change.action === "restore") {
      outcomes.push({ key, before: undefined, after: createdObject(change.draft, NOT_BORN) });
      continue;
    }
    const before = await getSound<Kind>(store, key);
    if (!before) continue;
    const after = change.action === "delete" ? undefined : updatedObject(before, change.draft);
    outcomes.push({ key, before, after });
  }
  return outcomes;
}

/** Throws `Rejected`. Returns whether any rule was asked, so that its answer must still hold when the changes are written. */
async function checkAll(outcomes: readonly ChangeOutcome[], world: World): Promise<boolean> {
  let asked = false;
  for (const { before, after } of outcomes) {
    const others = outcomes.length > 1 ? overlaid(world, outcomes) : world;
    if (after) {
      // Labels may be changed even of an object that a rule, newer than the object, would refuse.
      if (!RULED.has(after.kind) || (before && isDeepStrictEqual(before.spec, after.spec))) continue;
      reject(after, before ? "changed" : "created", await writeFaults(after, others));
    } else if (before) {
      if (!KEPT.has(before.kind)) continue;
      reject(before, "deleted", await deletionFaults(before, others));
    }
    asked = true;
  }
  return asked;
}

async function preview<K extends Kind>(
  store: Store,
  world: World,
  write: Write,
  draft: Draft<K>,
): Promise<ObjectOf<K>> {
  const key = keyOf(draft);
  const stored = await getSound(store, key);
  const object = previewed(write, draft, key, stored);
  if (write !== "updateStatus") {
    const before = write === "create" ? undefined : stored;
    await checkAll([{ key, before, after: object }], world);
  }
  return object as ObjectOf<K>;
}

function kindOf(change: StoreChange): Kind {
  return change.action === "delete" ? change.key.kind : change.draft.kind;
}

/** Kinds whose objects can be rejected because of others. */
const RULED: ReadonlySet<Kind> = new Set([
  "AddressPool",
  "NatGateway",
  "GatewayNode",
  "FloatingAddress",
  "PortForward",
]);
/** Kinds whose objects cannot always be deleted. */
const KEPT: ReadonlySet<Kind> = new Set(["AddressPool", "Cell"]);
/** Kinds that rules look at, or are about. */
const CONCERNED: ReadonlySet<Kind> = new Set([...RULED, "Cell", "Placement"]);

const NOT_BORN = { uid: "", creationTimestamp: "" };

function previewed(write: Write, draft: AnyObject, key: ObjectKey, stored: AnyObject | undefined): AnyObject {
  if (write === "create") {
    if (!stored) return createdObject(draft, NOT_BORN);
    throw alreadyExists(stored);
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

/** All objects that rules look at. */
interface World {
  readonly cells: Collection<"Cell">;
  readonly nodes: Collection<"GatewayNode">;
  readonly pools: Collection<"AddressPool">;
  readonly gateways: Collection<"NatGateway">;
  readonly placements: Collection<"Placement">;
  readonly floats: Collection<"FloatingAddress">;
  readonly forwards: Collection<"PortForward">;
}

function makeWorld(store: Store): World {
  return {
    cells: makeCollection(store, "Cell"),
    nodes: makeCollection(store, "GatewayNode"),
    pools: makeCollection(store, "AddressPool"),
    gateways: makeCollection(store, "NatGateway"),
    placements: makeCollection(store, "Placement"),
    floats: makeCollection(store, "FloatingAddress"),
    forwards: makeCollection(store, "PortForward"),
  };
}

/** The world as the changes leave it. */
function overlaid(world: World, outcomes: readonly ChangeOutcome[]): World {
  const over = <K extends Kind>(kind: K, { refresh }: Collection<K>): Collection<K> => ({
    refresh: async () => {
      const changed = outcomes.filter(({ key }) => key.kind === kind);
      const keys = new Set(changed.map(({ key }) => keyText(key)));
      const left = (await refresh()).filter((object) => !keys.has(keyText(keyOf(object))));
      return [...left, ...changed.flatMap(({ after }) => (after ? [after as ObjectOf<K>] : []))];
    },
  });
  return {
    cells: over("Cell", world.cells),
    nodes: over("GatewayNode", world.nodes),
    pools: over("AddressPool", world.pools),
    gateways: over("NatGateway", world.gateways),
    placements: over("Placement", world.placements),
    floats: over("FloatingAddress", world.floats),
    forwards: over("PortForward", world.forwards),
  };
}

async function holdersIn({ placements, floats, forwards }: World): Promise<Holders> {
  return {
    placements: await placements.refresh(),
    floats: await floats.refresh(),
    forwards: await forwards.refresh(),
  };
}

async function poolNamed({ pools }: World, name: string | undefined): Promise<AddressPool | undefined> {
  return (await pools.refresh()).find(({ metadata }) => metadata.name === name);
}

async function writeFaults(object: AnyObject, world: World): Promise<readonly FieldError[]> {
  switch (object.kind) {
    case "AddressPool":
      return poolFaults(object, await world.pools.refresh(), await holdersIn(world));
    case "NatGateway": {
      const pool = await poolNamed(world, object.spec.addresses.pool);
      return gatewayFaults(object, await world.gateways.refresh(), pool, await world.placements.refresh());
    }
    case "GatewayNode": {
      const cells = await world.cells.refresh();
      const cell = cells.find(({ metadata }) => metadata.name === object.spec.cell);
      return nodeFaults(object, await world.nodes.refresh(), cell);
    }
    case "FloatingAddress":
      return floatFaults(object, await holdersIn(world), await poolNamed(world, object.spec.pool));
    case "PortForward":
      return forwardFaults(object, await holdersIn(world), await poolNamed(world, object.spec.public.pool));
    default:
      return [];
  }
}

async function deletionFaults(object: AnyObject, world: World): Promise<readonly FieldError[]> {
  switch (object.kind) {
    case "AddressPool":
      return poolDeletionFaults(object, await holdersIn(world));
    case "Cell":
      return cellDeletionFaults(object, [
        ...(await world.nodes.refresh()),
        ...(await world.gateways.refresh()),
        ...(await world.floats.refresh()),
        ...(await world.forwards.refresh()),
      ]);
    default:
      return [];
  }
}

/** Runs tasks about kinds that rules concern one after the other, in the order in which they come; others at once. */
function makeTurns(): <T>(kinds: readonly Kind[], task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (kinds, task) => {
    if (!kinds.some((kind) => CONCERNED.has(kind))) return task();
    const result = last.then(task);
    last = result.catch(() => {});
    return result;
  };
}
