/** The contract suite: what every driver of the store must do. Each driver's test runs all of it. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import type { ObjectOf } from "../model/kinds.ts";
import { contractOfTransactions } from "./contract-transactions.ts";
import { contractOfWatches } from "./contract-watch.ts";
import { cell, gateway, rejectsWith } from "./fixtures.ts";
import type { Store } from "./store.ts";

export interface StoreSetup {
  /** How many changes the store keeps for watches. */
  readonly maxChanges?: number;
  /** How often an idle watcher gets a bookmark. */
  readonly bookmarkMs?: number;
}

/** Opens an empty store; what it needs is closed by `t.after`. */
export type OpenStore = (t: TestContext, setup?: StoreSetup) => Promise<Store>;

export function contractOfStores(driver: string, open: OpenStore): void {
  describe(`the ${driver} store keeps the contract:`, () => {
    contractOfWrites(open);
    contractOfStatus(open);
    contractOfReads(open);
    contractOfTransactions(open);
    contractOfWatches(open);
  });
}

function contractOfWrites(open: OpenStore): void {
  test("a created object is given a uid, a time, generation 1 and a resourceVersion, and is read back the same", async (t) => {
    const store = await open(t);
    const created = await store.create(cell("c1"));
    assert.match(created.metadata.uid, /^[0-9a-f-]{36}$/);
    assert(!Number.isNaN(Date.parse(created.metadata.creationTimestamp)));
    assert.equal(created.metadata.generation, 1);
    assert.notEqual(created.metadata.resourceVersion, "");
    assert.deepEqual(await store.get({ kind: "Cell", name: "c1" }), created);
  });

  test("what a client sends as uid, generation, time and status of a new object is ignored", async (t) => {
    const store = await open(t);
    const draft = cell("c1");
    const created = await store.create<"Cell">({
      ...draft,
      metadata: { ...draft.metadata, uid: "mine", generation: 7, creationTimestamp: "then" },
      status: { observedGeneration: 3, readyNodes: 1, totalNodes: 1, conditions: [] },
    });
    assert.notEqual(created.metadata.uid, "mine");
    assert.equal(created.metadata.generation, 1);
    assert.notEqual(created.metadata.creationTimestamp, "then");
    assert.equal(created.status, undefined);
  });

  test("an object cannot be created twice", async (t) => {
    const store = await open(t);
    await store.create(cell("c1"));
    await rejectsWith(store.create(cell("c1")), "AlreadyExists");
  });

  test("an object that breaks its schema is not stored, and the error names the field", async (t) => {
    const store = await open(t);
    const good = cell("c1");
    const bad = { ...good, spec: { ...good.spec, vxlan: { port: 70_000 } } };
    const error = await rejectsWith(store.create(bad), "Invalid");
    assert.equal(error.details[0]?.field, "spec.vxlan.port");
    assert.equal(await store.get({ kind: "Cell", name: "c1" }), undefined);
    await store.create(good);
    await rejectsWith(store.update(bad), "Invalid");
  });

  test("a change of the spec grows the generation; a change of labels does not", async (t) => {
    const store = await open(t);
    const created = await store.create<"Cell">(cell("c1", 1000));
    const relabelled = await store.update<"Cell">(cell("c1", 1000, { zone: "a" }));
    assert.equal(relabelled.metadata.generation, 1);
    assert.deepEqual(relabelled.metadata.labels, { zone: "a" });
    const changed = await store.update<"Cell">(cell("c1", 2000, { zone: "a" }));
    assert.equal(changed.metadata.generation, 2);
    assert.equal(changed.spec.vxlan.port, 2000);
    assert.equal(changed.metadata.uid, created.metadata.uid);
    assert.equal(changed.metadata.creationTimestamp, created.metadata.creationTimestamp);
    assert(Number(changed.metadata.resourceVersion) > Number(relabelled.metadata.resourceVersion));
  });

  test("an update that changes nothing writes nothing", async (t) => {
    const store = await open(t);
    const created = await store.create(cell("c1"));
    assert.deepEqual(await store.update(cell("c1")), created);
    assert.equal((await store.list({ kind: "Cell" })).resourceVersion, created.metadata.resourceVersion);
  });

  test("a conditional write takes place only on the version it was made from", async (t) => {
    const store = await open(t);
    const first = await store.create<"Cell">(cell("c1", 1));
    const edit = (port: number): ObjectOf<"Cell"> => ({ ...first, spec: cell("c1", port).spec });
    const second = await store.update(edit(2));
    const error = await rejectsWith(store.update(edit(3)), "Conflict");
    assert.equal(error.details[0]?.field, "metadata.resourceVersion");
    await rejectsWith(store.updateStatus(edit(3)), "Conflict");
    await rejectsWith(store.delete({ kind: "Cell", name: "c1" }, first.metadata.resourceVersion), "Conflict");
    assert.deepEqual(await store.get({ kind: "Cell", name: "c1" }), second);
    await store.delete({ kind: "Cell", name: "c1" }, second.metadata.resourceVersion);
    assert.equal(await store.get({ kind: "Cell", name: "c1" }), undefined);
  });

  test("what does not exist cannot be changed or deleted", async (t) => {
    const store = await open(t);
    await rejectsWith(store.update(cell("c1")), "NotFound");
    await rejectsWith(store.updateStatus(cell("c1")), "NotFound");
    await rejectsWith(store.delete({ kind: "Cell", name: "c1" }), "NotFound");
  });

  test("deleting returns the last state, and the name is free again for another object", async (t) => {
    const store = await open(t);
    const first = await store.create(cell("c1"));
    assert.deepEqual(await store.delete({ kind: "Cell", name: "c1" }), first);
    const second = await store.create(cell("c1"));
    assert.notEqual(second.metadata.uid, first.metadata.uid);
    assert(Number(second.metadata.resourceVersion) > Number(first.metadata.resourceVersion));
  });

  test("of many writers that increment one number under precondition, none loses an increment", async (t) => {
    const store = await open(t);
    await store.create(cell("c1", 1));
    let conflicts = 0;
    const increment = async (): Promise<void> => {
      for (;;) {
        const seen = await store.get({ kind: "Cell", name: "c1" });
        assert(seen);
        try {
          await store.update<"Cell">({ ...seen, spec: cell("c1", seen.spec.vxlan.port + 1).spec });
          return;
        } catch (error) {
          assert(error instanceof NattoError && error.code === "Conflict", String(error));
          conflicts++;
          assert(conflicts < 10_000);
        }
      }
    };
    await Promise.all(Array.from({ length: 20 }, increment));
    assert.equal((await store.get({ kind: "Cell", name: "c1" }))?.spec.vxlan.port, 21);
  });
}

function contractOfStatus(open: OpenStore): void {
  const status = { observedGeneration: 1, readyNodes: 2, totalNodes: 3, conditions: [] };

  test("the status is written apart from the spec", async (t) => {
    const store = await open(t);
    const created = await store.create<"Cell">(cell("c1", 1000));
    const reported = await store.updateStatus<"Cell">({ ...cell("c1", 9999, { not: "written" }), status });
    assert.deepEqual(reported.status, status);
    assert.deepEqual(reported.spec, created.spec);
    assert.deepEqual(reported.metadata.labels, {});
    assert.equal(reported.metadata.generation, 1);

    const changed = await store.update<"Cell">({
      ...cell("c1", 2000),
      status: { ...status, readyNodes: 99 },
    });
    assert.deepEqual(changed.status, status);
    assert.equal(changed.spec.vxlan.port, 2000);
  });

  test("a status that is the same is not written", async (t) => {
    const store = await open(t);
    await store.create(cell("c1"));
    const reported = await store.updateStatus<"Cell">({ ...cell("c1"), status });
    assert.deepEqual(await store.updateStatus<"Cell">({ ...cell("c1"), status }), reported);
  });

  test("a status that breaks its schema is not stored", async (t) => {
    const store = await open(t);
    await store.create(cell("c1"));
    await rejectsWith(
      store.updateStatus<"Cell">({ ...cell("c1"), status: { ...status, readyNodes: 1.5 } }),
      "Invalid",
    );
    assert.equal((await store.get({ kind: "Cell", name: "c1" }))?.status, undefined);
  });
}

function contractOfReads(open: OpenStore): void {
  test("an object that does not exist is undefined", async (t) => {
    const store = await open(t);
    assert.equal(await store.get({ kind: "Cell", name: "nowhere" }), undefined);
  });

  test("a list is sorted by namespace, then name, and selects by namespace and name", async (t) => {
    const store = await open(t);
    // In the order of whole keys, `a-b/…` would come before `a/…`.
    const keys = ["b/a", "a/n", "a-b/n", "a/m-1", "a/m", "a/m10"];
    for (const key of keys) {
      const [namespace, name] = key.split("/") as [string, string];
      await store.create(gateway(namespace, name));
    }
    await store.create(cell("m"));
    const names = async (selection: { namespace?: string; name?: string }): Promise<readonly string[]> => {
      const { items } = await store.list({ kind: "NatGateway", ...selection });
      return items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    };
    assert.deepEqual(await names({}), ["a/m", "a/m-1", "a/m10", "a/n", "a-b/n", "b/a"]);
    assert.deepEqual(await names({ namespace: "a" }), ["a/m", "a/m-1", "a/m10", "a/n"]);
    assert.deepEqual(await names({ namespace: "a", name: "m" }), ["a/m"]);
    assert.deepEqual(await names({ name: "n" }), ["a/n", "a-b/n"]);
    assert.deepEqual(await names({ namespace: "none" }), []);
  });

  test("a list shows the revision of the last write, of whatever kind", async (t) => {
    const store = await open(t);
    await store.create(cell("c1"));
    const last = await store.create(gateway("a", "g1"));
    assert.equal((await store.list({ kind: "Cell" })).resourceVersion, last.metadata.resourceVersion);
  });
}
