import { contractOfStores } from "./contract.ts";
import { DEFAULT_HISTORY } from "./key-value.ts";
import { openMemoryStore } from "./memory-store.ts";

contractOfStores("memory", async (t, setup = {}) => {
  const { maxChanges = DEFAULT_HISTORY.maxChanges, bookmarkMs = 5_000 } = setup;
  const store = openMemoryStore({ history: { ...DEFAULT_HISTORY, maxChanges }, bookmarkMs });
  t.after(() => store.close());
  return store;
});
