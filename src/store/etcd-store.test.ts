/** The contract suite on a real cluster of three members. What happens when things break is in `etcd-outages.suite.ts`. */
import assert from "node:assert/strict";
import { after, type TestContext } from "node:test";
import { readNamedFile } from "../named-file.ts";
import { contractOfStores, type StoreSetup } from "./contract.ts";
import { openEtcdClient } from "./etcd-client.ts";
import { COMPACT } from "./etcd-rpc.ts";
import { etcdSettings } from "./etcd-settings.ts";
import { makeEtcdDriver } from "./etcd-store.ts";
import { writeOne } from "./fixtures.ts";
import { makeObjectStore } from "./object-store.ts";
import type { Store } from "./store.ts";
import { startEtcdCluster } from "./testing/etcd-cluster.ts";

// Shared by all tests, each with a prefix of its own.
const cluster = await startEtcdCluster({
  flags: ["--experimental-watch-progress-notify-interval", "40ms"],
});
after(() => cluster.close());

let stores = 0;

/** An empty store in a cluster with a past that is compacted away; `maxChanges` is kept by compacting after each write. */
async function openEmpty(
  t: TestContext,
  { maxChanges, bookmarkMs = 5_000 }: StoreSetup = {},
): Promise<Store> {
  const settings = etcdSettings(cluster.url(`store-${stores++}`, "?deadlineMs=5000"), {}, readNamedFile);
  const client = openEtcdClient(settings, 0);
  const driver = makeEtcdDriver(settings, { bookmarkMs });
  t.after(async () => {
    await driver.close();
    client.close();
  });
  const compact = (revision: number) => client.read(COMPACT, { revision });
  const seed = await writeOne(driver, { key: "seed", value: "{}", expected: 0 });
  assert(seed !== undefined);
  await compact(seed);
  if (maxChanges === undefined) return makeObjectStore(driver);
  return makeObjectStore({
    ...driver,
    commit: async (writes, guards) => {
      const revisions = await driver.commit(writes, guards);
      const last = revisions?.at(-1);
      if (last !== undefined && last - maxChanges > seed) await compact(last - maxChanges);
      return revisions;
    },
  });
}

contractOfStores("etcd", openEmpty);
