import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_ALLOCATION } from "../model/allocation.ts";
import { DEFAULT_BEHAVIOUR } from "../model/nat-behaviour.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { slotsPerAddress } from "../model/slots.ts";
import { NOBODY_INDEX, SELF } from "./layouts.ts";
import {
  type AddressEntry,
  type Current,
  computeTables,
  SLOT_WORDS,
  type SlotRange,
  type Tables,
} from "./tables.ts";

type Spec = NodeConfig["spec"];
const NAMES = ["a", "b", "c", "d", "e"];
const addressOfNode = (name: string) => `10.255.0.${1 + NAMES.indexOf(name)}`;

/** A configuration of node `a`: which peers there are, and for each gateway its slot size and its public addresses. */
function specOf(
  peers: readonly string[],
  gateways: readonly { size: number; addresses: readonly number[] }[],
): Spec {
  const nodes = ["a", ...peers];
  return {
    cell: "test",
    node: { address: addressOfNode("a"), interfaces: { inside: "in0", outside: "out0" } },
    vxlan: { port: 4789 },
    peers: peers.map((name) => ({ name, address: addressOfNode(name) })),
    gateways: gateways.map(({ size, addresses }, g) => ({
      namespace: "default",
      name: `g${g}`,
      uid: `u${g}`,
      sources: [`10.${g}.0.0/16`],
      portsPerSlot: size,
      allocation: DEFAULT_ALLOCATION,
      log: "None",
      behaviour: DEFAULT_BEHAVIOUR,
      nodes,
      addresses: addresses.map((last) => ({
        address: `203.0.113.${last}`,
        owners: Array.from({ length: slotsPerAddress(size) }, (_, slot) => (slot + last) % nodes.length),
        backups: Array.from({ length: slotsPerAddress(size) }, (_, slot) => (slot + last + 1) % nodes.length),
      })),
    })),
  };
}

/** Configurations in which no public address has two gateways. */
const specArbitrary = fc
  .tuple(
    fc.subarray(["b", "c", "d", "e"]),
    fc.shuffledSubarray(Array.from({ length: 12 }, (_, i) => i + 1)),
    fc.array(fc.constantFrom(1024, 3072, 64), { minLength: 1, maxLength: 4 }),
  )
  .map(([peers, addresses, sizes]) => {
    const dealt = sizes.map((size, g) => ({
      size,
      addresses: addresses.filter((_, i) => i % sizes.length === g),
    }));
    return specOf(peers, dealt);
  });

const EMPTY: Current = { nodes: new Map(), addresses: new Map() };
const heldBy = (tables: Tables): Current => ({ nodes: tables.nodes, addresses: tables.addresses });
const rangeOf = (entry: AddressEntry): SlotRange => ({ first: entry.firstSlot, count: entry.slotCount });
const overlap = (a: SlotRange, b: SlotRange) => a.first < b.first + b.count && b.first < a.first + a.count;

function assertConsistent(spec: Spec, tables: Tables): void {
  const ranges = [...tables.addresses.values()].map(rangeOf);
  ranges.forEach((range, i) => {
    for (const other of ranges.slice(i + 1))
      assert.ok(!overlap(range, other), "two addresses share a slot index");
  });
  assert.equal(new Set(tables.nodes.keys()).size, spec.peers.length + 1);
  assert.equal(tables.gateways.size, spec.gateways.length);
}

test("every address has slot indices of its own, and the owners in them are the configuration's", () => {
  fc.assert(
    fc.property(specArbitrary, (spec) => {
      const tables = computeTables(spec, "a", EMPTY, []);
      assertConsistent(spec, tables);
      const ownAddress = new Map([...tables.nodes].map(([index, address]) => [index, address & 0xff]));
      for (const gateway of spec.gateways) {
        for (const placed of gateway.addresses) {
          const key = [...tables.addresses.keys()].find((k) => placed.address.endsWith(`.${k & 0xff}`))!;
          const { firstSlot } = tables.addresses.get(key)!;
          placed.owners.forEach((owner, slot) => {
            const packed = tables.slots[SLOT_WORDS * (firstSlot + slot)]!;
            const expected = 1 + NAMES.indexOf(gateway.nodes[owner]!);
            assert.equal(ownAddress.get(packed & 0xffff), expected);
          });
        }
      }
    }),
  );
});

test("what is in use keeps its index over any history of configurations", () => {
  fc.assert(
    fc.property(fc.array(specArbitrary, { minLength: 2, maxLength: 8 }), (history) => {
      let before = computeTables(history[0]!, "a", EMPTY, []);
      for (const spec of history.slice(1)) {
        const after = computeTables(spec, "a", heldBy(before), []);
        assertConsistent(spec, after);
        for (const [index, address] of after.nodes) {
          const earlier = [...before.nodes].find(([, a]) => a === address);
          if (earlier) assert.equal(index, earlier[0]);
        }
        for (const [key, entry] of after.addresses) {
          const earlier = before.addresses.get(key);
          if (earlier?.slotCount === entry.slotCount) assert.equal(entry.firstSlot, earlier.firstSlot);
          else if (earlier)
            assert.ok(!overlap(rangeOf(entry), rangeOf(earlier)), "another cut reuses its own old slots");
        }
        for (const [key, earlier] of before.addresses) {
          if (after.addresses.has(key)) continue;
          for (const entry of after.addresses.values()) assert.ok(!overlap(rangeOf(entry), rangeOf(earlier)));
        }
        before = after;
      }
    }),
  );
});

test("the same configuration on its own tables changes nothing", () => {
  fc.assert(
    fc.property(specArbitrary, (spec) => {
      const once = computeTables(spec, "a", EMPTY, []);
      assert.deepEqual(computeTables(spec, "a", heldBy(once), []), once);
    }),
  );
});

test("slots that rest are not given out", () => {
  const spec = specOf(["b"], [{ size: 1024, addresses: [1] }]);
  const resting = [{ first: 10, count: 63 }];
  const entry = [...computeTables(spec, "a", EMPTY, resting).addresses.values()][0]!;
  assert.ok(!overlap(rangeOf(entry), resting[0]!));
});

test("a gateway without an address is there all the same, so that its sources are dropped and not let through", () => {
  const tables = computeTables(specOf([], [{ size: 1024, addresses: [] }]), "a", EMPTY, []);
  assert.equal(tables.sources.length, 1);
  assert.deepEqual(tables.gateways.get(tables.sources[0]!.gateway)?.addresses, []);
});

test("a slot whose owner is not among the peers belongs to nobody, never to this node", () => {
  const spec = specOf(["b"], [{ size: 64_512, addresses: [1] }]);
  const orphaned = { ...spec, peers: [] };
  const { slots } = computeTables(orphaned, "a", EMPTY, []);
  const owner = spec.gateways[0]!.addresses[0]!.owners[0]!;
  assert.equal(slots[0]! & 0xffff, spec.gateways[0]!.nodes[owner] === "a" ? SELF : NOBODY_INDEX);
});
