import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { rejectsWith } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { type NodeIdentity, planRegistration, registerNode } from "./registration.ts";

const IDENTITY: NodeIdentity = {
  node: "a",
  cell: "c1",
  address: "10.255.0.1",
  interfaces: { inside: "in0", outside: "out0" },
  labels: { "topology.natto.dev/zone": "z1" },
};

test("an agent creates its node, and finds nothing to do the second time", async () => {
  const store = openMemoryStore();
  const created = await registerNode(store, IDENTITY);
  assert.equal(created.spec.address, "10.255.0.1");
  assert.deepEqual(created.metadata.labels, IDENTITY.labels);
  const again = await registerNode(store, IDENTITY);
  assert.equal(again.metadata.resourceVersion, created.metadata.resourceVersion);
});

test("an agent corrects what it knows and leaves what the operator set", async () => {
  const store = openMemoryStore();
  const created = await registerNode(store, IDENTITY);
  const { metadata, spec } = created;
  await store.update<"GatewayNode">({
    ...created,
    metadata: { ...metadata, labels: { ...metadata.labels, owner: "net" }, annotations: { note: "x" } },
    spec: { ...spec, drain: true, weight: 7 },
  });
  const moved = { ...IDENTITY, address: "10.255.0.9", labels: { "topology.natto.dev/zone": "z2" } };
  const corrected = await registerNode(store, moved);
  assert.deepEqual(corrected.spec, { ...spec, address: "10.255.0.9", drain: true, weight: 7 });
  assert.deepEqual(corrected.metadata.labels, { "topology.natto.dev/zone": "z2", owner: "net" });
  assert.deepEqual(corrected.metadata.annotations, { note: "x" });
});

/** The store, with somebody who changes the node right before each of the first `times` writes of it. */
function withMeddler(store: Store, times: number): Store {
  let weight = 0;
  return {
    ...store,
    async update(draft) {
      if (draft.kind === "GatewayNode" && weight < times) {
        const stored = await store.get({ kind: "GatewayNode", name: "a" });
        assert.ok(stored);
        await store.update<"GatewayNode">({ ...stored, spec: { ...stored.spec, weight: ++weight } });
      }
      return store.update(draft);
    },
  };
}

test("a write of somebody else in between is neither lost nor in the way", async () => {
  const store = openMemoryStore();
  await registerNode(store, IDENTITY);
  const moved = { ...IDENTITY, address: "10.255.0.9" };
  const corrected = await registerNode(withMeddler(store, 2), moved);
  assert.equal(corrected.spec.address, "10.255.0.9");
  assert.equal(corrected.spec.weight, 2);
});

test("an agent that is always overtaken gives up for now", async () => {
  const store = openMemoryStore();
  await registerNode(store, IDENTITY);
  const moved = { ...IDENTITY, address: "10.255.0.9" };
  const error = await rejectsWith(registerNode(withMeddler(store, 100), moved), "Unavailable");
  assert.ok(error.transient);
});

test("an identity that breaks the rules of a node is refused with the field", () => {
  const wrong = { ...IDENTITY, address: "10.255.0" };
  assert.throws(
    () => planRegistration(undefined, wrong),
    (thrown) => thrown instanceof NattoError && thrown.details[0]?.field === "spec.address",
  );
});
