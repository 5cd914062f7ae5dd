/** A proposal: what is stored, and what would be stored if files were applied (or what they name were deleted). Nothing is written. */
import { doubtInput } from "../controller/doubt-input.ts";
import { asNattoError, type NattoError } from "../errors.ts";
import { weighLosses } from "../membership/doubt.ts";
import type { Members } from "../membership/membership.ts";
import { openStoreMembership } from "../membership/store-membership.ts";
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import type { Planned } from "../planner/impact.ts";
import { type PlanInput, plan } from "../planner/plan.ts";
import { pause } from "../store/pause.ts";
import { keyOf, keyText, type Store } from "../store/store.ts";
import { type Outcome, planApply } from "./apply.ts";
import { type CheckedManifest, placeError } from "./manifest.ts";

export interface ProposedObject {
  readonly outcome: Outcome | "deleted" | "absent";
  /** As it is stored; undefined: not at all. */
  readonly before: AnyObject | undefined;
  readonly after: AnyObject | undefined;
}

export interface Proposal {
  readonly objects: readonly ProposedObject[];
  readonly faults: readonly NattoError[];
  readonly before: Planned;
  readonly after: Planned;
}

/** Reads the store and plans twice: as it is, and as it would be. */
export async function propose(
  store: Store,
  manifests: readonly CheckedManifest[],
  mode: "apply" | "delete",
): Promise<Proposal> {
  const input = await readInput(store);
  const declared = [...input.cells, ...input.nodes, ...input.pools, ...input.gateways];
  const live = new Map<string, AnyObject>(declared.map((object) => [keyText(keyOf(object)), object]));
  const objects: ProposedObject[] = [];
  const faults: NattoError[] = [];
  for (const { object, manifest } of manifests) {
    const before = live.get(keyText(keyOf(object)));
    try {
      objects.push(mode === "apply" ? applied(object, manifest.input, before) : deleted(before));
    } catch (thrown) {
      faults.push(placeError(manifest, asNattoError(thrown)));
    }
  }
  const proposed = withObjects(input, objects);
  return {
    objects,
    faults,
    before: { input, plan: plan(input) },
    after: { input: proposed, plan: plan(proposed) },
  };
}

/** The object as the store would make it: the status stays, and another generation counts as another declaration. */
function applied(written: AnyObject, input: unknown, before: AnyObject | undefined): ProposedObject {
  const { outcome, draft } = planApply(written, input, before);
  if (outcome === "unchanged") return { outcome, before, after: before };
  const birth = before?.metadata ?? { uid: "proposed", creationTimestamp: new Date().toISOString() };
  const { uid, creationTimestamp } = birth;
  const generation = (before?.metadata.generation ?? 0) + 1;
  const metadata = { ...draft.metadata, uid, creationTimestamp, generation };
  return { outcome, before, after: { ...draft, metadata, status: before?.status } as AnyObject };
}

function deleted(before: AnyObject | undefined): ProposedObject {
  return { outcome: before ? "deleted" : "absent", before, after: undefined };
}

function withObjects(input: PlanInput, objects: readonly ProposedObject[]): PlanInput {
  const changes = new Map<string, AnyObject | undefined>();
  for (const { before, after } of objects) {
    const object = before ?? after;
    if (object) changes.set(keyText(keyOf(object)), after);
  }
  const merge = <K extends Kind>(kind: K, stored: readonly ObjectOf<K>[]): readonly ObjectOf<K>[] => {
    const kept = stored.filter((object) => !changes.has(keyText(keyOf(object))));
    const changed = [...changes.values()].filter(
      (object): object is AnyObject & ObjectOf<K> => object?.kind === kind,
    );
    return [...kept, ...changed];
  };
  return {
    ...input,
    cells: merge("Cell", input.cells),
    nodes: merge("GatewayNode", input.nodes),
    pools: merge("AddressPool", input.pools),
    gateways: merge("NatGateway", input.gateways),
    floats: merge("FloatingAddress", input.floats),
    forwards: merge("PortForward", input.forwards),
  };
}

async function readInput(store: Store): Promise<PlanInput> {
  const heard = await listen(store);
  const list = async <K extends Kind>(kind: K) => (await store.list({ kind })).items;
  const [cells, nodes, pools, gateways, floats, forwards, placements] = await Promise.all([
    list("Cell"),
    list("GatewayNode"),
    list("AddressPool"),
    list("NatGateway"),
    list("FloatingAddress"),
    list("PortForward"),
    list("Placement"),
  ]);
  const weighed = weighLosses(new Map(), doubtInput({ cells, nodes, placements }, heard, performance.now()));
  const { members, doubted } = weighed;
  return { cells, nodes, pools, gateways, floats, forwards, placements, members, doubted };
}

const LOOK_MS = 50;

/**
 * Who is alive, by listening to the heartbeats as the controller does: until each node has been heard, or has been silent for the longest time to
 * live of all cells.
 */
async function listen(store: Store): Promise<Members> {
  const membership = openStoreMembership(store, { tickMs: LOOK_MS });
  try {
    const { items } = await store.list({ kind: "Cell" });
    const ttlMs = 1000 * Math.max(0, ...items.map((cell) => cell.spec.membership.ttlSeconds));
    const ending = AbortSignal.timeout(ttlMs + 10 * LOOK_MS);
    const allHeard = () => ![...membership.current().values()].includes("unmanaged");
    while (!ending.aborted && !(membership.ready() && allHeard())) await pause(LOOK_MS, ending);
    return membership.current();
  } finally {
    await membership.close();
  }
}
