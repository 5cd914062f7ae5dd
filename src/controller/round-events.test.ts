import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnyObject, ObjectOf } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import { node } from "../planner/fixtures.ts";
import { keyOf } from "../store/store.ts";
import { alive } from "./fixtures.ts";
import { memberEvents, writeEvents } from "./round-events.ts";
import type { Stored } from "./writes.ts";

const NOTHING: Stored = {
  ...{ cells: [], nodes: [], pools: [], gateways: [], floats: [], forwards: [] },
  ...{ placements: [], nodeConfigs: [], rollouts: [], leases: [] },
};

function placement(owners: readonly number[], moving: readonly number[] = []): ObjectOf<"Placement"> {
  const times = { since: "2026-11-24T12:00:00Z", until: "2026-11-24T13:00:00Z" };
  const moves = moving.map((slot) => ({ slot, from: 0, phase: "shared", ...times }));
  const addresses = [{ address: "203.0.113.1", owners, backups: owners.map(() => -1), moves }];
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Placement",
    metadata: { namespace: "t", name: "g1" },
    spec: { cell: "c1", pool: "p1", portsPerSlot: 16_128, nodes: ["a", "b"], addresses },
  }) as ObjectOf<"Placement">;
}

function told(stored: Partial<Stored>, now: AnyObject): readonly string[] {
  const done = [{ key: keyOf(now), before: "1", object: now }];
  return writeEvents({ ...NOTHING, ...stored }, done).map(({ reason, note }) => `${reason}: ${note}`);
}

test("Slots that got another owner are told together, and so is the end of their moves.", () => {
  const before = placement([0, 0, 1, 1]);
  const moving = placement([1, 1, 0, 1], [0, 1, 2]);
  assert.deepEqual(told({ placements: [before] }, moving), [
    "SlotsMoved: 3 of 4 slots have another owner: 2 from a to b, 1 from b to a",
  ]);
  assert.deepEqual(told({ placements: [moving] }, placement([1, 1, 0, 1])), [
    "MovesEnded: the moves of 3 slots have ended: their previous owners have let go of them",
  ]);
  assert.deepEqual(told({}, before), []);
});

test("A member that falls silent, goes or returns is told of; one that was not known before is not.", () => {
  const nodes = [node("n1"), node("n2"), node("n3")];
  const later = new Map([["n1", "unmanaged"] as const, ["n3", "alive"] as const]);
  const events = memberEvents(alive("n1", "n2"), later, nodes);
  assert.deepEqual(
    events.map(({ regarding, reason }) => `${regarding.name} ${reason}`),
    ["n1 AgentSilent", "n2 MemberGone"],
  );
});
