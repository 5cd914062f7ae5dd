/** All objects of one kind as of now, kept from one look to the next so that a look costs only what has changed. */
import { asNattoError } from "../errors.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import { keyOf, keyText, type Store } from "../store/store.ts";

export interface Collection<K extends Kind> {
  /** All objects, including every write that was acknowledged before the call. Not to be called twice at the same time. */
  refresh(): Promise<readonly ObjectOf<K>[]>;
}

export function makeCollection<K extends Kind>(store: Store, kind: K): Collection<K> {
  const objects = new Map<string, ObjectOf<K>>();
  let from: string | undefined;

  async function listAll(): Promise<void> {
    const list = await store.list({ kind });
    objects.clear();
    for (const item of list.items) objects.set(keyText(keyOf(item)), item);
    from = list.resourceVersion;
  }

  /** Takes in what has changed since `revision`; the first bookmark says that it is complete. */
  async function catchUp(revision: string): Promise<void> {
    const ending = new AbortController();
    for await (const event of store.watch({ kind }, revision, ending.signal)) {
      from = event.resourceVersion;
      if (event.type === "BOOKMARK") return;
      const key = keyText(keyOf(event.object));
      if (event.type === "DELETED") objects.delete(key);
      else objects.set(key, event.object);
    }
  }

  return {
    refresh: async () => {
      try {
        await (from === undefined ? listAll() : catchUp(from));
      } catch (thrown) {
        from = undefined;
        if (asNattoError(thrown).code !== "Expired") throw thrown;
        await listAll();
      }
      return [...objects.values()];
    },
  };
}
