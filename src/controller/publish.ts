/** Publishing: executing writes, several at a time, and telling what became of them. */
import { asNattoError, type NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import { keyOf, type ObjectKey, type Store } from "../store/store.ts";
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

const AT_ONCE = 16;

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
  for (const batch of [ground, writes.nodeConfigs, [...writes.statuses, ...writes.leases]]) {
    await forEachOf(batch, AT_ONCE, async (write) => {
      if (signal.aborted || failed.some(isFinal)) return;
      try {
        const result = await execute(store, write);
        if (result) done.push(result);
      } catch (thrown) {
        const error = asNattoError(thrown);
        const failure = { what: `${write.action} ${describe(write)}`, error };
        (isOvertaken(error) ? overtaken : failed).push(failure);
      }
    });
    const broken = batch === ground && overtaken.length + failed.length > 0;
    if (signal.aborted || broken || failed.some(isFinal)) break;
  }
  return { done, overtaken, failed };
}

async function execute(store: Store, write: Write): Promise<Done | undefined> {
  if (write.action !== "delete") {
    const before = write.action === "create" ? undefined : write.draft.metadata.resourceVersion;
    const object = await store[write.action](write.draft);
    return object.metadata.resourceVersion === before ? undefined : { key: keyOf(object), before, object };
  }
  // What is owned by a living object is never deleted because a view of the store was incomplete.
  if (write.orphanOf && (await store.get(write.orphanOf))) return undefined;
  await store.delete(write.key, write.resourceVersion);
  return { key: write.key, before: write.resourceVersion, object: undefined };
}

/** Whether the other writes would fail in the same way. */
function isFinal({ error }: Failure): boolean {
  return error.transient || error.code === "Fenced";
}

function isOvertaken({ code }: NattoError): boolean {
  return code === "Conflict" || code === "NotFound" || code === "AlreadyExists";
}

function describe(write: Write): string {
  if (write.action !== "delete") return nameOf(write.draft);
  return nameOf({ kind: write.key.kind, metadata: write.key });
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
