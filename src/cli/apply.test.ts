import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { applyObject, LAST_APPLIED } from "./apply.ts";

const NODE = { kind: "GatewayNode", name: "a" } as const;

function node(spec: Record<string, unknown>, labels: Record<string, string> = {}) {
  const fixed = { cell: "main", address: "192.0.2.1", interfaces: { inside: "in", outside: "out" } };
  return {
    apiVersion: "natto.dev/v1alpha1",
    kind: "GatewayNode",
    metadata: { name: "a", labels },
    spec: { ...fixed, ...spec },
  };
}

async function apply(store: Store, input: unknown) {
  return await applyObject(store, validateObject(input), input);
}

async function specOf(store: Store) {
  return (await store.get(NODE))?.spec;
}

test("an object is created, then unchanged, then configured", async () => {
  const store = openMemoryStore();
  assert.equal((await apply(store, node({}))).outcome, "created");
  const { metadata } = (await store.get(NODE))!;
  assert.equal((await apply(store, node({}))).outcome, "unchanged");
  assert.equal((await store.get(NODE))?.metadata.resourceVersion, metadata.resourceVersion);
  assert.equal((await apply(store, node({ weight: 50 }))).outcome, "configured");
  assert.equal((await specOf(store))?.weight, 50);
});

test("a field that was removed from the file goes back to its default, and what others have set stays", async () => {
  const store = openMemoryStore();
  await apply(store, node({ weight: 50 }, { tier: "test" }));
  const live = (await store.get(NODE))!;
  await store.update({
    ...live,
    metadata: { ...live.metadata, labels: { ...live.metadata.labels, rack: "r1" } },
    spec: { ...live.spec, drain: true },
  });
  assert.equal((await apply(store, node({}))).outcome, "configured");
  const after = (await store.get(NODE))!;
  assert.deepEqual([after.spec.weight, after.spec.drain, after.metadata.labels], [100, true, { rack: "r1" }]);
});

test("what the store gives back is unchanged when it is applied, and is looked after from then on", async () => {
  const store = openMemoryStore();
  await store.create(validateObject(node({ weight: 50 })));
  const stored = await store.get(NODE);
  assert.equal((await apply(store, stored)).outcome, "unchanged");
  assert.equal((await apply(store, node({}))).outcome, "configured");
  assert.equal((await specOf(store))?.weight, 100);
});

test("a damaged record of what was applied is taken for none", async () => {
  const store = openMemoryStore();
  await apply(store, node({ weight: 50 }));
  const live = (await store.get(NODE))!;
  await store.update({ ...live, metadata: { ...live.metadata, annotations: { [LAST_APPLIED]: "{" } } });
  assert.equal((await apply(store, node({}))).outcome, "unchanged");
  assert.equal((await specOf(store))?.weight, 50);
});

test("a dry run decides but writes nothing", async () => {
  const store = openMemoryStore();
  const input = node({});
  assert.equal((await applyObject(store, validateObject(input), input, true)).outcome, "created");
  assert.equal(await store.get(NODE), undefined);
});

/** The store, as seen by somebody who is overtaken at each of the first `times` reads. */
function overtaken(store: Store, times: number): Store {
  let turn = 0;
  return {
    ...store,
    get: async (key) => {
      const seen = await store.get(key);
      const current: AnyObject | undefined = await store.get(NODE);
      if (turn++ < times && current?.kind === "GatewayNode") {
        await store.update({ ...current, metadata: { ...current.metadata, labels: { turn: `${turn}` } } });
      }
      return seen;
    },
  };
}

test("an object that others change in the meantime is read again", async () => {
  const store = openMemoryStore();
  await apply(store, node({}));
  assert.equal((await apply(overtaken(store, 3), node({ weight: 7 }))).outcome, "configured");
  const after = (await store.get(NODE))!;
  assert.deepEqual([after.spec.weight, after.metadata.labels], [7, { turn: "3" }]);
});

test("an object that others never cease to change is given up with a conflict", async () => {
  const store = openMemoryStore();
  await apply(store, node({}));
  await assert.rejects(
    apply(overtaken(store, Number.POSITIVE_INFINITY), node({ weight: 7 })),
    (error) => error instanceof NattoError && error.code === "Conflict" && /attempts/.test(error.message),
  );
});
