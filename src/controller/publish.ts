/** Publishing: executing writes, several at a time, and telling what became of them. */
import { asNattoError, type NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import { keyOf, type ObjectKey, type Store, type StoreChange } from "../store/store.ts";
import type { Write, Writes } from "./writes.ts";

/** What one write changed: the object as it is stored now, undefined after a deletion. */
export interface Done {
  readonly key: ObjectKey;
  /** The version that was there before; undefined when there was none. */
  readonly before: string | undefined;
  readonly object: AnyObject | undefined;
}

export interface Failure {
  readonly what: string;
  readonly error: NattoError;
}

export interface PublishReport {
  readonly done: readonly Done[];
  /** Writes that met another state than was seen: planning again with a fresh view sets it right. */
  readonly overtaken: readonly Failure[];
  readonly failed: readonly Failure[];
}

/** So many transactions are under way at the same time. */
const AT_ONCE = 16;
/** So many small objects are written in one transaction: a round trip and a sync of the disk for all of them. */
const TOGETHER = 32;

/**
 * Writes placements and rollouts, then configurations, then the rest. What fails for one object does not stop the others; but when a placement
 * or a rollout could not be written, the store is away, or the writer's term is over, nothing that comes after it is tried. Stops early
 * when the signal aborts.
 */
export async function publish(store: Store, writes: Writes, signal: AbortSignal): Promise<PublishReport> {
  const done: Done[] = [];
  const overtaken: Failure[] = [];
  const failed: Failure[] = [];
  const ground = [...writes.placements, ...writes.rollouts];
  const attempt = async (group: readonly Write[]): Promise<void> => {
    if (signal.aborted || failed.some(isFinal)) return;
    try {
      done.push(...(await execute(store, group)));
    } catch (thrown) {
      const error = asNattoError(thrown);
      const failure = { what: describe(group), error };
      if (group.length === 1 || isFinal(failure)) (isOvertaken(error) ? overtaken : failed).push(failure);
      // One of them is in the way of all: each by itself.
      else for (const write of group) await attempt([write]);
    }
  };
  for (const batch of [ground, writes.nodeConfigs, [...writes.statuses, ...writes.leases]]) {
    await forEachOf(groupsOf(batch), AT_ONCE, attempt);
    const broken = batch === ground && overtaken.length + failed.length > 0;
    if (signal.aborted || broken || failed.some(isFinal)) break;
  }
  return { done, overtaken, failed };
}

/** Small objects many at a time; by themselves what is large, and deletions, which may turn out not to be wanted. */
function groupsOf(batch: readonly Write[]): readonly (readonly Write[])[] {
  const isSmall = (write: Write): boolean =>
    write.action !== "delete" && write.draft.kind !== "NodeConfig" && write.draft.kind !== "Rollout";
  const small = batch.filter(isSmall);
  const chunks = Array.from({ length: Math.ceil(small.length / TOGETHER) }, (_, i) =>
    small.slice(i * TOGETHER, (i + 1) * TOGETHER),
  );
  return [...batch.filter((write) => !isSmall(write)).map((write) => [write]), ...chunks];
}

/** Does the writes in one transaction; returns those that have changed something. */
async function execute(store: Store, group: readonly Write[]): Promise<readonly Done[]> {
  const [first] = group;
  // What is owned by a living object is never deleted because a view of the store was incomplete.
  if (first?.action === "delete" && first.orphanOf && (await store.get(first.orphanOf))) return [];
  const objects = await store.commit(group.map(changeOf));
  return group.flatMap((write, i): Done[] => {
    const object = objects[i]!;
    const key = keyOf(object);
    if (write.action === "delete") return [{ key, before: write.resourceVersion, object: undefined }];
    const before = write.action === "create" ? undefined : write.draft.metadata.resourceVersion;
    return object.metadata.resourceVersion === before ? [] : [{ key, before, object }];
  });
}

function changeOf(write: Write): StoreChange {
  if (write.action !== "delete") return write;
  const { action, key, resourceVersion } = write;
  return { action, key, resourceVersion };
}

/** Whether the other writes would fail in the same way. */
function isFinal({ error }: Failure): boolean {
  return error.transient || error.code === "Fenced";
}

function isOvertaken({ code }: NattoError): boolean {
  return code === "Conflict" || code === "NotFound" || code === "AlreadyExists";
}

/** The first write of a group, and how many more there are. */
function describe([first, ...others]: readonly Write[]): string {
  if (first === undefined) return "nothing";
  const object = first.action === "delete" ? { kind: first.key.kind, metadata: first.key } : first.draft;
  const more = others.length > 0 ? ` and ${others.length} more` : "";
  return `${first.action} ${nameOf(object)}${more}`;
}

/** Does the work for all items, at most `limit` at the same time. */
async function forEachOf<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
}
