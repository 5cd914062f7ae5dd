import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObjectOf } from "../model/kinds.ts";
import { cell } from "./fixtures.ts";
import { checkPrecondition, createdObject, statusUpdatedObject, updatedObject } from "./object-lifecycle.ts";

const BIRTH = { uid: "u-1", creationTimestamp: "2026-11-24T00:00:00.000Z" };
const STATUS = { observedGeneration: 1, readyNodes: 1, totalNodes: 2, conditions: [] };

function stored(): ObjectOf<"Cell"> {
  const object = createdObject(cell("c1"), BIRTH);
  assert(object.kind === "Cell");
  return { ...object, metadata: { ...object.metadata, resourceVersion: "7" }, status: STATUS };
}

test("birth gives an object its uid and time, and defaults are filled in", () => {
  const draft = { apiVersion: "natto.dev/v1alpha1", kind: "Cell", metadata: { name: "c1" }, spec: {} };
  const { metadata, spec } = createdObject(draft, BIRTH);
  assert.deepEqual(metadata, {
    name: "c1",
    labels: {},
    annotations: {},
    ...BIRTH,
    resourceVersion: "",
    generation: 1,
  });
  assert.deepEqual(spec, cell("c1").spec);
});

test("the order of fields is no difference", () => {
  const before = stored();
  const { membership, vxlan } = before.spec;
  assert.equal(updatedObject(before, { ...before, spec: { vxlan, membership } }), before);
  assert.equal(updatedObject(before, { ...before, spec: { membership, vxlan } }), before);
});

test("a field given as undefined is no difference", () => {
  const before = stored();
  const draft = { ...before, metadata: { ...before.metadata, namespace: undefined } };
  assert.equal(updatedObject(before, draft), before);
});

test("what is stored is not changed in place", () => {
  const before = stored();
  const copy = structuredClone(before);
  const after = updatedObject(before, cell("c1", 1, { a: "b" }));
  assert.equal(after.metadata.generation, 2);
  assert.deepEqual(
    statusUpdatedObject(before, { ...before, status: { ...STATUS, readyNodes: 0 } }).metadata,
    before.metadata,
  );
  assert.deepEqual(before, copy);
});

test("a status that is left out is removed", () => {
  const { status: _, ...bare } = stored();
  assert.equal("status" in statusUpdatedObject(stored(), bare), false);
});

test("a precondition holds for its version only, and an empty one always", () => {
  checkPrecondition(stored(), "");
  checkPrecondition(stored(), undefined);
  checkPrecondition(stored(), "7");
  assert.throws(() => checkPrecondition(stored(), "6"), { code: "Conflict" });
});
