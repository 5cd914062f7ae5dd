/** The part of the contract suite that is about transactions and fences. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObjectOf } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import type { OpenStore } from "./contract.ts";
import { cell, rejectsWith } from "./fixtures.ts";
import { type Fence, keyOf, MAX_CHANGES, type Store } from "./store.ts";

const CELLS = { kind: "Cell" } as const;

export function contractOfTransactions(open: OpenStore): void {
  contractOfCommits(open);
  contractOfFences(open);
}

async function names(store: Store): Promise<readonly string[]> {
  return (await store.list(CELLS)).items.map(({ metadata }) => metadata.name);
}

function contractOfCommits(open: OpenStore): void {
  test("the changes of a transaction take place together, and are answered in their order", async (t) => {
    const store = await open(t);
    const old = await store.create(cell("old"));
    const kept = await store.create<"Cell">(cell("kept", 1));
    const status = { observedGeneration: 1, readyNodes: 2, totalNodes: 3, conditions: [] };
    const done = await store.commit([
      { action: "create", draft: cell("new") },
      { action: "delete", key: keyOf(old) },
      { action: "update", draft: { ...kept, spec: cell("kept", 2).spec } },
    ]);
    assert.deepEqual(
      done.map(({ metadata }) => metadata.name),
      ["new", "old", "kept"],
    );
    assert.deepEqual(done[1], old);
    assert.deepEqual(await store.get({ kind: "Cell", name: "new" }), done[0]);
    assert.deepEqual(await store.get({ kind: "Cell", name: "kept" }), done[2]);
    assert.equal(done[2]?.metadata.generation, 2);
    assert.deepEqual(await names(store), ["kept", "new"]);
    const [reported] = await store.commit([{ action: "updateStatus", draft: { ...cell("kept"), status } }]);
    assert.deepEqual((reported as ObjectOf<"Cell">).status, status);
  });

  test("when one change of a transaction is refused none takes place", async (t) => {
    const store = await open(t);
    const first = await store.create<"Cell">(cell("a", 1));
    await store.update<"Cell">({ ...first, spec: cell("a", 2).spec });
    const create = { action: "create", draft: cell("b") } as const;
    const outdated = { action: "update", draft: { ...first, spec: cell("a", 3).spec } } as const;
    await rejectsWith(store.commit([create, outdated]), "Conflict");
    await rejectsWith(store.commit([create, { action: "create", draft: cell("a") }]), "AlreadyExists");
    const missing = { action: "delete", key: { kind: "Cell", name: "nowhere" } } as const;
    await rejectsWith(store.commit([create, missing]), "NotFound");
    assert.deepEqual(await names(store), ["a"]);
  });

  test("a watch is told each change of a transaction", async (t) => {
    const store = await open(t);
    await store.create(cell("a"));
    const { resourceVersion } = await store.list(CELLS);
    await store.commit([
      { action: "create", draft: cell("b") },
      { action: "delete", key: { kind: "Cell", name: "a" } },
    ]);
    const told = new Set<string>();
    for await (const event of store.watch(CELLS, resourceVersion, t.signal)) {
      if (event.type !== "BOOKMARK") told.add(`${event.type} ${event.object.metadata.name}`);
      if (told.size === 2) break;
    }
    assert.deepEqual([...told].sort(), ["ADDED b", "DELETED a"]);
  });

  test("a restored object keeps its uid, generation and time, and takes nobody's place", async (t) => {
    const store = await open(t);
    const created = await store.create<"Cell">(cell("a", 1));
    const changed = await store.update<"Cell">({ ...created, spec: cell("a", 2).spec });
    const restore = { action: "restore", draft: changed } as const;
    await rejectsWith(store.commit([restore]), "AlreadyExists");
    await store.delete(keyOf(changed));
    const [restored] = await store.commit([restore]);
    const { resourceVersion } = restored!.metadata;
    assert.deepEqual(restored, { ...changed, metadata: { ...changed.metadata, resourceVersion } });
    assert(Number(resourceVersion) > Number(changed.metadata.resourceVersion));
  });

  test("too many changes, and an object that is changed twice, are refused", async (t) => {
    const store = await open(t);
    const create = (i: number) => ({ action: "create", draft: cell(`c${i}`) }) as const;
    await rejectsWith(store.commit([create(1), create(1)]), "BadRequest");
    const many = Array.from({ length: MAX_CHANGES + 2 }, (_, i) => create(i));
    await rejectsWith(store.commit(many), "TooLarge");
    assert.deepEqual(await names(store), []);
    assert.equal((await store.commit(many.slice(2))).length, MAX_CHANGES);
  });
}

function leadership(holder: string, renewals = 0): ObjectOf<"Leadership"> {
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Leadership",
    metadata: { name: "l" },
    spec: { holder, ttlMs: 1000, since: "" },
    status: { renewals, renewedAt: "" },
  }) as ObjectOf<"Leadership">;
}

function fenceOf({ kind, metadata }: ObjectOf<"Leadership">): Fence {
  return {
    key: { kind, name: metadata.name },
    uid: metadata.uid,
    generation: metadata.generation,
  };
}

function contractOfFences(open: OpenStore): void {
  test("a fenced writer writes through renewals, until another term begins, and then never again", async (t) => {
    const store = await open(t);
    const first = store.fenced(fenceOf(await store.create<"Leadership">(leadership("a"))));
    await first.create(cell("c1", 1));
    await store.updateStatus(leadership("a", 1));
    await first.update(cell("c1", 2));
    await store.updateStatus(leadership("a", 2));
    await first.update(cell("c1", 3));

    const second = store.fenced(fenceOf(await store.update<"Leadership">(leadership("b"))));
    const before = await store.get({ kind: "Cell", name: "c1" });
    const error = await rejectsWith(first.update(cell("c1", 4)), "Fenced");
    assert.match(error.message, /Leadership l at generation 1, and now it is at generation 2/);
    await rejectsWith(first.create(cell("c2")), "Fenced");
    await rejectsWith(first.delete({ kind: "Cell", name: "c1" }), "Fenced");
    await rejectsWith(first.updateStatus({ ...before!, status: cellStatus(1) }), "Fenced");
    await rejectsWith(first.commit([{ action: "create", draft: cell("c3") }]), "Fenced");
    assert.deepEqual((await store.list(CELLS)).items, [before]);
    await second.update(cell("c1", 5));
    await store.update(leadership("a"));
    await rejectsWith(first.update(cell("c1", 6)), "Fenced");
    await rejectsWith(second.update(cell("c1", 6)), "Fenced");
  });

  test("a fence does not hold for an object that is gone, or that was made anew", async (t) => {
    const store = await open(t);
    const fenced = store.fenced(fenceOf(await store.create<"Leadership">(leadership("a"))));
    await store.delete({ kind: "Leadership", name: "l" });
    await rejectsWith(fenced.create(cell("c1")), "Fenced");
    await store.create(leadership("a"));
    await rejectsWith(fenced.create(cell("c1")), "Fenced");
    assert.deepEqual(await names(store), []);
  });

  test("a fenced write is still refused for the object's own reasons", async (t) => {
    const store = await open(t);
    const fenced = store.fenced(fenceOf(await store.create<"Leadership">(leadership("a"))));
    const created = await fenced.create<"Cell">(cell("c1", 1));
    await rejectsWith(fenced.create(cell("c1")), "AlreadyExists");
    await store.update(cell("c1", 2));
    await rejectsWith(fenced.update({ ...created, spec: cell("c1", 3).spec }), "Conflict");
    await rejectsWith(fenced.delete({ kind: "Cell", name: "c9" }), "NotFound");
  });
}

function cellStatus(readyNodes: number) {
  return { observedGeneration: 1, readyNodes, totalNodes: 1, conditions: [] };
}
