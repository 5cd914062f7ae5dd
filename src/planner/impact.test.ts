import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { cloud, gateway, node, publish } from "./fixtures.ts";
import { history, live } from "./histories.ts";
import { type Impact, impactOf } from "./impact.ts";
import { type PlanInput, plan } from "./plan.ts";

const NODES = ["n1", "n2", "n3"].map((name) => node(name));

/** A cloud that has come to rest. */
function settled(gateways = [gateway("g1"), gateway("g2")]): PlanInput {
  const input = cloud({ nodes: NODES, gateways });
  return publish(input, plan(input));
}

function impact(before: PlanInput, change: Partial<PlanInput>): Impact {
  const after = { ...before, ...change };
  return impactOf({ input: before, plan: plan(before) }, { input: after, plan: plan(after) });
}

test("a drained node: its slots move, a third of each gateway could break, and nothing else", () => {
  const nodes = [node("n1"), node("n2", { drain: true }), node("n3")];
  const found = impact(settled(), { nodes });
  assert.equal(found.movedSlots, 42);
  for (const { ports, percent, moves } of found.gateways) {
    assert.deepEqual(ports, { affected: 21 * 1024, total: 63 * 1024 });
    assert(percent >= 100 / 3 && percent < 50, `${percent}`);
    assert(moves.every(({ from, to }) => from === "n2" && to !== "n2"));
  }
  const [n1, n2, n3] = found.nodes;
  assert.deepEqual([n1?.loses, n2?.gains, n2?.loses, n3?.loses], [0, 0, 42, 0]);
  assert.equal((n1?.gains ?? 0) + (n3?.gains ?? 0), 42);
  assert.equal(found.blastRadiusPercent, found.cells[0]?.percent);
});

test("a second address: no slot moves, but the endpoints that it attracts find another one", () => {
  const found = impact(settled([gateway("g1")]), { gateways: [gateway("g1", { count: 2, generation: 2 })] });
  const [only] = found.gateways;
  assert(only);
  assert.deepEqual([only.slots.affected, only.endpoints.total], [0, 256]);
  assert(only.endpoints.affected > 64 && only.endpoints.affected < 192, `${only.endpoints.affected} of 256`);
  assert.equal(found.blastRadiusPercent, (100 * only.endpoints.affected) / 256);
});

test("a gateway that goes: all of it breaks, half of the cell; one that is new breaks nothing", () => {
  const gone = impact(settled(), { gateways: [gateway("g1")] });
  assert.deepEqual(
    gone.gateways.map(({ gateway: key, change, percent }) => [key, change, percent]),
    [["t/g2", "removed", 100]],
  );
  assert.equal(gone.blastRadiusPercent, 50);
  const fresh = impact(settled(), { gateways: [gateway("g1"), gateway("g2"), gateway("g3", { age: 9 })] });
  assert.equal(fresh.blastRadiusPercent, 0);
  assert.deepEqual(fresh.nodes[0]?.changes, ["gateway t/g3: new"]);
});

test("sources that are taken away lose their gateway; settings change on all nodes and break nothing", () => {
  const fewer = impact(settled([gateway("g1")]), {
    gateways: [gateway("g1", { sources: ["10.0.1.0/26"], generation: 2 })],
  });
  assert.deepEqual(fewer.gateways[0]?.endpoints, { affected: 192, total: 256 });
  const { spec, ...rest } = gateway("g1", { generation: 2 });
  const shorter = { ...rest, spec: { ...spec, timeouts: { ...spec.timeouts, udp: 5 } } };
  const quick = impact(settled([gateway("g1")]), { gateways: [shorter] });
  assert.deepEqual([quick.gateways, quick.blastRadiusPercent], [[], 0]);
  assert.deepEqual(
    quick.nodes.map(({ changes }) => changes),
    NODES.map(() => ["gateway t/g1: settings"]),
  );
});

test("of more endpoints than can be counted one by one the share is estimated, and said to be", () => {
  const wide = { sources: ["10.0.0.0/12"] };
  const found = impact(settled([gateway("g1", wide)]), {
    gateways: [gateway("g1", { ...wide, count: 2, generation: 2 })],
  });
  const [only] = found.gateways;
  assert(only?.estimated);
  assert.equal(only.endpoints.total, 2 ** 20);
  assert(Math.abs(only.percent - 50) < 2, `${only.percent}`);
});

test("a gateway that would be set aside is named with the reason", () => {
  const gateways = [gateway("g1"), gateway("g2"), gateway("g3", { sources: ["10.0.1.0/25"], age: 9 })];
  const { rejected } = impact(settled(), { gateways });
  assert.deepEqual(
    rejected.map(({ gateway: key }) => key),
    ["t/g3"],
  );
  assert.match(rejected[0]?.message ?? "", /overlaps 10\.0\.1\.0\/24 of NatGateway t\/g1/);
});

test("whatever was before: when a node goes, the slots that are said to move are those that the planner moves", () => {
  fc.assert(
    fc.property(history, fc.nat(), (steps, which) => {
      const calm = live(steps);
      const { nodes } = calm;
      if (nodes.length === 0) return;
      const gone = nodes[which % nodes.length]!.metadata.name;
      const input = { ...calm, members: new Map([...calm.members, [gone, "gone" as const]]) };
      const after = { input, plan: plan(input) };
      const found = impactOf({ input: calm, plan: plan(calm) }, after);
      assert.equal(found.movedSlots, after.plan.movedSlots);
      const told = found.gateways.flatMap(({ moves }) => moves.map(({ slots }) => slots));
      assert.equal(
        told.reduce((sum, slots) => sum + slots, 0),
        found.movedSlots,
      );
    }),
  );
});
