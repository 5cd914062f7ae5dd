/** Properties of the planner over random histories. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { MemberState } from "../membership/membership.ts";
import { slotsPerAddress } from "../model/slots.ts";
import type { PlacementSpec } from "./assignment.ts";
import { cell, gateway, node, pool, publish, slotTable, tally } from "./fixtures.ts";
import { standingOf } from "./fleet.ts";
import {
  EMPTY,
  evenHistory,
  gatewayName,
  history,
  inputOf,
  live,
  nodeName,
  setGateway,
} from "./histories.ts";
import { createPlanner, type PlanInput, plan } from "./plan.ts";

function eligibleNames(input: PlanInput): Set<string> {
  const eligible = input.nodes.filter(
    (n) => standingOf(n, input.members.get(n.metadata.name)) === "eligible",
  );
  return new Set(eligible.map((n) => n.metadata.name));
}

function withoutNode(input: PlanInput, name: string): PlanInput {
  return { ...input, nodes: input.nodes.filter((n) => n.metadata.name !== name) };
}

function withMember(input: PlanInput, name: string, s: MemberState): PlanInput {
  return { ...input, members: new Map([...input.members, [name, s]]) };
}

/** Slots of both tables whose entries differ. */
function movedSlots(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  return [...before.keys()].filter((slot) => after.has(slot) && before.get(slot) !== after.get(slot));
}

test("every slot has exactly one owner, which may own slots, as soon as one node is eligible", () => {
  fc.assert(
    fc.property(history, (steps) => {
      live(steps, (input, planned) => {
        const allowed = new Set(
          input.nodes
            .filter((n) => standingOf(n, input.members.get(n.metadata.name)) !== "out")
            .map((n) => n.metadata.name),
        );
        if (eligibleNames(input).size === 0) return;
        for (const [key, spec] of planned.placements) {
          const owners = slotTable(spec, "owners");
          assert.equal(owners.size, spec.addresses.length * slotsPerAddress(spec.portsPerSlot), key);
          for (const owner of owners.values()) assert(allowed.has(owner), `${owner} may own nothing`);
          assert(tally(owners).size <= Math.max(spec.nodes.length, 1));
        }
      });
    }),
  );
});

test("a node that holds what it has is given nothing", () => {
  fc.assert(
    fc.property(history, (steps) => {
      live(steps, (input, planned) => {
        if (eligibleNames(input).size === 0) return;
        for (const [key, spec] of planned.placements) {
          const before = slotTable(
            input.placements.find((p) => `t/${p.metadata.name}` === key)?.spec,
            "owners",
          );
          for (const [slot, owner] of slotTable(spec, "owners")) {
            const declared = input.nodes.find((n) => n.metadata.name === owner)!;
            if (standingOf(declared, input.members.get(owner)) === "holding")
              assert.equal(before.get(slot), owner);
          }
        }
      });
    }),
  );
});

test("a node that falls silent but forwards neither loses nor causes the move of any slot", () => {
  fc.assert(
    fc.property(history, nodeName, (steps, name) => {
      const input = live(steps);
      const left = eligibleNames(input);
      fc.pre(left.has(name) && left.size > 1);
      const after = plan(withMember(input, name, "unmanaged"));
      for (const { metadata, spec } of input.placements) {
        const owners = slotTable(spec, "owners");
        // One that has a place in the shard but so little weight that it owns nothing gives its place to another.
        if (!tally(owners).has(name)) continue;
        const now = slotTable(after.placements.get(`t/${metadata.name}`), "owners");
        assert.deepEqual(movedSlots(owners, now), []);
      }
    }),
  );
});

test("nodes of equal weight hold the floor or the ceiling of their quota, over all addresses of a gateway", () => {
  fc.assert(
    fc.property(evenHistory, (steps) => {
      live(steps, (input, planned) => {
        const eligible = eligibleNames(input).size;
        for (const [key, spec] of planned.placements) {
          const owners = slotTable(spec, "owners");
          if (owners.size === 0) continue;
          const { size } = input.gateways.find((g) => `t/${g.metadata.name}` === key)!.spec.shard;
          const quota = owners.size / Math.min(size, eligible);
          for (const slots of tally(owners).values())
            assert(Math.abs(slots - quota) < 1, `${slots} of ${quota}`);
          if (quota >= 1) assert.equal(tally(owners).size, Math.min(size, eligible));
        }
      });
    }),
  );
});

test("no slot is unfairly placed, whatever the weights: none of two nodes is entitled to a slot of the other", () => {
  fc.assert(
    fc.property(history, (steps) => {
      live(steps, (input, planned) => {
        const eligible = eligibleNames(input);
        const weights = new Map(input.nodes.map((n) => [n.metadata.name, n.spec.weight]));
        for (const spec of planned.placements.values()) {
          const counts = [...tally(slotTable(spec, "owners"))].filter(([name]) => eligible.has(name));
          for (const [a, slotsOfA] of counts) {
            for (const [b, slotsOfB] of counts) {
              const fair = (slotsOfA - 0.5) * weights.get(b)! <= (slotsOfB + 0.5) * weights.get(a)!;
              assert(fair, `${a} has ${slotsOfA}, ${b} has ${slotsOfB}`);
            }
          }
        }
      });
    }),
  );
});

test("losing a node moves its own slots and no other, each to the one that was next in line", () => {
  const ways: ((input: PlanInput, name: string) => PlanInput)[] = [
    withoutNode,
    (input, name) => withMember(input, name, "gone"),
  ];
  fc.assert(
    fc.property(evenHistory, nodeName, fc.constantFrom(...ways), (steps, name, lose) => {
      const input = live(steps);
      fc.pre(eligibleNames(input).size > 1 && eligibleNames(input).has(name));
      const after = plan(lose(input, name));
      for (const { metadata, spec } of input.placements) {
        const owners = slotTable(spec, "owners");
        const backups = slotTable(spec, "backups");
        const now = slotTable(after.placements.get(`t/${metadata.name}`), "owners");
        for (const [slot, owner] of owners) {
          assert.equal(now.get(slot), owner === name ? backups.get(slot) : owner, slot);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("whatever the weights, each slot of a lost node goes to the one that was next in line", () => {
  fc.assert(
    fc.property(history, nodeName, (steps, name) => {
      const input = live(steps);
      const others = eligibleNames(input);
      fc.pre(others.delete(name) && others.size > 0);
      const after = plan(withMember(input, name, "gone"));
      for (const { metadata, spec } of input.placements) {
        const backups = slotTable(spec, "backups");
        const now = slotTable(after.placements.get(`t/${metadata.name}`), "owners");
        for (const [slot, owner] of slotTable(spec, "owners")) {
          if (owner === name) assert.equal(now.get(slot), backups.get(slot), slot);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("in a shard that is not full, losing a node moves only its own slots, whatever the weights", () => {
  fc.assert(
    fc.property(history, nodeName, (steps, name) => {
      const input = live(steps);
      const eligible = eligibleNames(input);
      fc.pre(eligible.size > 1 && eligible.has(name));
      const after = plan(withMember(input, name, "gone"));
      for (const { metadata, spec } of input.placements) {
        const { size } = input.gateways.find((g) => g.metadata.name === metadata.name)!.spec.shard;
        if (size < input.nodes.length) continue;
        const owners = slotTable(spec, "owners");
        const now = slotTable(after.placements.get(`t/${metadata.name}`), "owners");
        for (const slot of movedSlots(owners, now)) assert.equal(owners.get(slot), name);
      }
    }),
  );
});

test("a joining node takes from others and at most its share; nothing moves among the others", () => {
  fc.assert(
    fc.property(evenHistory, (steps) => {
      const input = live(steps);
      const fresh = node("n99", { zone: "a" });
      const eligible = eligibleNames(input).size + 1;
      const after = plan({
        ...input,
        nodes: [...input.nodes, fresh],
        members: new Map([...input.members, ["n99", "alive"]]),
      });
      for (const { metadata, spec } of input.placements) {
        const owners = slotTable(spec, "owners");
        const now = slotTable(after.placements.get(`t/${metadata.name}`), "owners");
        const { size } = input.gateways.find((g) => g.metadata.name === metadata.name)!.spec.shard;
        const taken = movedSlots(owners, now);
        for (const slot of taken) assert.equal(now.get(slot), "n99");
        assert(taken.length <= Math.ceil(owners.size / Math.min(size, eligible)));
        if (owners.size > 0 && eligible > size) assert.deepEqual(taken, []);
      }
    }),
  );
});

test("planning again what was planned changes nothing", () => {
  fc.assert(
    fc.property(history, (steps) => {
      live(steps, (input, planned) => {
        const again = plan(publish(input, planned));
        assert.deepEqual(again, { ...planned, withdrawn: new Map(), movedSlots: 0 });
      });
    }),
    { numRuns: 300 },
  );
});

test("the order in which objects are listed does not matter", () => {
  fc.assert(
    fc.property(history, fc.infiniteStream(fc.nat()), (steps, random) => {
      const input = live(steps);
      const shuffle = <T>(items: readonly T[]): T[] =>
        items
          .map((item) => ({ item, at: random.next().value }))
          .sort((a, b) => a.at - b.at)
          .map(({ item }) => item);
      const shuffled = plan({
        ...input,
        nodes: shuffle(input.nodes),
        gateways: shuffle(input.gateways),
        placements: shuffle(input.placements),
        members: new Map(shuffle([...input.members])),
      });
      const planned = plan(input);
      assert.deepEqual(shuffled.nodeConfigs, planned.nodeConfigs);
      assert.deepEqual(shuffled, planned);
    }),
  );
});

test("a planner with a memory plans the same as one without", () => {
  fc.assert(
    fc.property(history, fc.array(fc.boolean(), { minLength: 25, maxLength: 25 }), (steps, published) => {
      const remembering = createPlanner();
      let world = EMPTY;
      let input = inputOf(world, []);
      steps.forEach((step, i) => {
        world = step(world);
        input = inputOf(world, input.placements);
        const planned = remembering(input);
        assert.deepEqual(planned, plan(input));
        if (published[i]) input = publish(input, planned);
      });
    }),
    { numRuns: 300 },
  );
});

test("no address belongs to two gateways, and none lies outside the pool", () => {
  fc.assert(
    fc.property(history, (steps) => {
      live(steps, (_, planned) => {
        const all = [...planned.placements.values()].flatMap((spec) => spec.addresses.map((a) => a.address));
        assert.equal(new Set(all).size, all.length);
        for (const address of all) assert.match(address, /^203\.0\.113\.[0-7]$|^198\.51\.100\.[45]$/);
      });
    }),
  );
});

test("what a gateway keeps of its addresses keeps its slots, as far as balance allows", () => {
  fc.assert(
    fc.property(evenHistory, gatewayName, fc.integer({ min: 1, max: 4 }), (steps, name, count) => {
      const input = live(steps);
      const before = input.placements.find((p) => p.metadata.name === name)?.spec;
      fc.pre(before !== undefined && eligibleNames(input).size > 0);
      const gateways = input.gateways.map((g) =>
        g.metadata.name === name
          ? {
              ...g,
              spec: { ...g.spec, addresses: { ...g.spec.addresses, count } },
              metadata: { ...g.metadata, generation: 99 },
            }
          : g,
      );
      const after: PlacementSpec = plan({ ...input, gateways }).placements.get(`t/${name}`)!;
      const owners = slotTable(before, "owners");
      const now = slotTable(after, "owners");
      const moved = movedSlots(owners, now);
      // With more addresses only free slots are handed out; with fewer, at most what the imbalance of the rest demands.
      if (count >= before.addresses.length) assert.deepEqual(moved, []);
      const staying = tally(new Map([...owners].filter(([slot]) => now.has(slot))));
      const quota = now.size / Math.max(1, tally(now).size);
      const surplus = [...staying.values()].reduce(
        (sum, slots) => sum + Math.max(0, slots - Math.floor(quota)),
        0,
      );
      assert(moved.length <= surplus, `${moved.length} moved, ${surplus} in surplus`);
    }),
  );
});

test("an object that is set aside does not change what is planned for others", () => {
  const broken = fc.constantFrom<(input: PlanInput) => PlanInput>(
    (input) => ({
      ...input,
      gateways: [...input.gateways, gateway("x0", { sources: ["10.0.0.0/16"], age: 9 })],
    }),
    (input) => ({
      ...input,
      gateways: [...input.gateways, gateway("x1", { cell: "nowhere", sources: ["0.0.0.0/0"] })],
    }),
    (input) => ({
      ...input,
      gateways: [...input.gateways, gateway("x2", { pool: "none", sources: ["0.0.0.0/0"] })],
    }),
    (input) => ({ ...input, pools: [...input.pools, pool("x3", ["203.0.113.0/24"], 9)] }),
    (input) => ({ ...input, nodes: [...input.nodes, node("n98", { cell: "nowhere" })] }),
    (input) => {
      const address = input.nodes[0]?.spec.address ?? "192.0.2.200";
      const twins = input.nodes.length > 0 ? [node("n97", { address, age: 9 })] : [];
      return {
        ...input,
        nodes: [...input.nodes, ...twins],
        members: new Map([...input.members, ["n97", "alive"]]),
      };
    },
  );
  fc.assert(
    fc.property(history, broken, (steps, damage) => {
      const input = live([...steps, setGateway("g0", {})]);
      const sound = plan(input);
      const damaged = plan(damage(input));
      assert.deepEqual(damaged.placements, sound.placements);
      assert.deepEqual(damaged.nodeConfigs, sound.nodeConfigs);
      for (const [key, status] of sound.gateways) assert.deepEqual(damaged.gateways.get(key), status);
      for (const [key, status] of sound.pools) assert.deepEqual(damaged.pools.get(key), status);
    }),
  );
});

test("what goes on in one cell changes nothing in another", () => {
  fc.assert(
    fc.property(history, history, (steps, later) => {
      const c2 = [node("m1", { cell: "c2" }), node("m2", { cell: "c2" })];
      const other = gateway("h200", { cell: "c2", pool: "p2" });
      const join = (input: PlanInput): PlanInput => ({
        ...input,
        cells: [cell("c1"), cell("c2")],
        pools: [...input.pools, pool("p2", ["192.0.2.128/30"])],
        nodes: [...input.nodes, ...c2],
        gateways: [...input.gateways, other],
        members: new Map([...input.members, ["m1", "alive"], ["m2", "alive"]]),
      });
      const early = plan(join(live(steps)));
      const late = plan(join(live([...steps, ...later])));
      assert.deepEqual(late.placements.get("t/h200"), early.placements.get("t/h200"));
      assert.deepEqual(late.nodeConfigs.get("m1"), early.nodeConfigs.get("m1"));
    }),
  );
});
