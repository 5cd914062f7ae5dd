import assert from "node:assert/strict";
import { test } from "node:test";
import { event } from "./fixtures.ts";
import { expiredEvents, KEPT_IN_ALL, KEPT_MS, KEPT_PER_OBJECT } from "./retention.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const NODE = { kind: "GatewayNode", name: "n1" };
const names = (events: ReturnType<typeof expiredEvents>) =>
  events.map(({ metadata }) => metadata.name).sort();

test("An Event goes when it has not happened for an hour, or when nobody can read when it did.", () => {
  const young = event("young", NODE, NOW - KEPT_MS + 1);
  const old = event("old", NODE, NOW - KEPT_MS);
  const odd = {
    ...young,
    metadata: { ...young.metadata, name: "odd" },
    spec: { ...young.spec, lastTime: "?" },
  };
  assert.deepEqual(names(expiredEvents([young, old, odd], NOW)), ["odd", "old"]);
});

test("Of one object the latest are kept, and other objects lose nothing by it.", () => {
  const many = Array.from({ length: KEPT_PER_OBJECT + 2 }, (_, i) => event(`e${i}`, NODE, NOW - i));
  const other = event("other", { ...NODE, name: "n2" }, NOW - 1000);
  const gone = names(expiredEvents([...many, other], NOW));
  assert.deepEqual(gone, [`e${KEPT_PER_OBJECT}`, `e${KEPT_PER_OBJECT + 1}`]);
});

test("In all no more are kept than a store bears.", () => {
  const each = (i: number) => event(`e${i}`, { ...NODE, name: `n${i}` }, NOW - i);
  const all = Array.from({ length: KEPT_IN_ALL + 3 }, (_, i) => each(i));
  assert.equal(expiredEvents(all, NOW).length, 3);
});
