/** A store whose calls go through one function, which may delay, refuse or lose them: for tests of what depends on a store. */
import type { Store, StoreLease } from "../store.ts";

/** Does `work` on the store, or does not. */
export type Intercept = <T>(work: () => Promise<T>) => Promise<T>;

/** The store as seen through `call`, also by fenced writers of it; its watches and its end are those of the store itself. */
export function interceptCalls(store: Store, call: Intercept): Store {
  const { grantLease } = store;
  return {
    ...store,
    get: (key) => call(() => store.get(key)),
    list: (selection) => call(() => store.list(selection)),
    create: (draft) => call(() => store.create(draft)),
    update: (draft) => call(() => store.update(draft)),
    updateStatus: (draft) => call(() => store.updateStatus(draft)),
    delete: (key, version) => call(() => store.delete(key, version)),
    commit: (changes) => call(() => store.commit(changes)),
    fenced: (fence) => interceptCalls(store.fenced(fence), call),
    ...(grantLease && {
      grantLease: (ttlMs) => call(async () => interceptLease(await grantLease(ttlMs), call)),
    }),
  };
}

function interceptLease(lease: StoreLease, call: Intercept): StoreLease {
  return {
    ...lease,
    store: interceptCalls(lease.store, call),
    prolong: () => call(() => lease.prolong()),
    end: () => call(() => lease.end()),
  };
}
