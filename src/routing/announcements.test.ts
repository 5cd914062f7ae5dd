import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nodeConfig } from "../model/fixtures.ts";
import { cidr, cidrContains, formatAddress, formatCidr, netmask } from "../model/ipv4.ts";
import { cellRoutingSchema, resolveRouting } from "../model/routing.ts";
import {
  type Announcements,
  announcementsOf,
  commonAnnouncements,
  coverExactly,
  NOTHING,
  transition,
} from "./announcements.ts";

const BASE = cidr("203.0.113.0/27").first;
const SPAN = Array.from({ length: 32 }, (_, i) => BASE + i);
const block = fc
  .tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 27, max: 32 }))
  .map(([offset, bits]) => formatCidr({ first: ((BASE + offset) & netmask(bits)) >>> 0, bits }));
const announcements = fc
  .uniqueArray(block, { maxLength: 6 })
  .map((outside): Announcements => ({ inside: [], outside: outside.sort() }));

const covers = (prefixes: readonly string[], one: number) => prefixes.some((p) => cidrContains(cidr(p), one));

function configWith(routing: object, addresses: number) {
  const resolved = resolveRouting(cellRoutingSchema.parse({ driver: "kernel", ...routing }), undefined);
  assert(resolved);
  return nodeConfig(addresses, { routing: resolved }).spec;
}

test("inside the declared prefixes and the node's own address are announced, outside the addresses in use", () => {
  assert.deepEqual(announcementsOf(configWith({}, 3)), {
    inside: ["0.0.0.0/0", "127.84.0.1/32"],
    outside: ["198.51.100.0/31", "198.51.100.2/32"],
  });
  const chosen = { insidePrefixes: ["192.0.2.0/24", "198.18.0.0/15"] };
  const { inside } = announcementsOf(configWith(chosen, 1));
  assert.deepEqual(inside, ["127.84.0.1/32", "192.0.2.0/24", "198.18.0.0/15"]);
});

test("an aggregate stands for the addresses in it, once one of them is used", () => {
  const routing = { publicAggregates: ["198.51.100.0/28", "203.0.113.0/24"] };
  assert.deepEqual(announcementsOf(configWith(routing, 17)).outside, ["198.51.100.0/28", "198.51.100.16/32"]);
});

test("floating addresses and port forwards have public addresses too", () => {
  const names = { namespace: "team", inside: "10.0.0.9" };
  const forward = { protocol: "tcp", port: 80, count: 1, insidePort: 8080 } as const;
  const spec = {
    ...configWith({}, 1),
    floatingAddresses: [{ ...names, name: "mail", address: "198.51.100.1" }],
    portForwards: [{ ...names, ...forward, name: "web", address: "203.0.113.5" }],
  };
  assert.deepEqual(announcementsOf(spec).outside, ["198.51.100.0/31", "203.0.113.5/32"]);
});

test("a node without routing, or told to be silent, announces nothing", () => {
  assert.deepEqual(announcementsOf(nodeConfig(2).spec), NOTHING);
  const spec = configWith({}, 2);
  assert(spec.routing);
  assert.deepEqual(announcementsOf({ ...spec, routing: { ...spec.routing, announce: false } }), NOTHING);
});

test("addresses are covered exactly, by blocks no two of which could be one", () => {
  fc.assert(
    fc.property(fc.subarray(SPAN), (addresses) => {
      const blocks = coverExactly(addresses);
      for (const one of SPAN) {
        const times = blocks.filter((b) => cidrContains(b, one)).length;
        assert.equal(times, addresses.includes(one) ? 1 : 0, formatAddress(one));
      }
      for (const b of blocks) {
        const parent = { first: (b.first & netmask(b.bits - 1)) >>> 0, bits: b.bits - 1 };
        const whole = SPAN.every((one) => !cidrContains(parent, one) || addresses.includes(one));
        assert.equal(whole && parent.bits >= 27, false, `${formatCidr(b)} could be larger`);
      }
    }),
  );
});

test("what two sets have in common covers exactly the addresses that both cover", () => {
  fc.assert(
    fc.property(announcements, announcements, (a, b) => {
      const { outside } = commonAnnouncements(a, b);
      for (const one of SPAN) {
        assert.equal(covers(outside, one), covers(a.outside, one) && covers(b.outside, one));
      }
    }),
  );
});

test("on the way from one set to another no address that both cover loses its route, even if going comes before coming", () => {
  fc.assert(
    fc.property(announcements, announcements, (from, to) => {
      const steps = transition(from, to);
      assert.deepEqual(steps.at(-1) ?? from, to);
      let now = from.outside;
      for (const { outside } of steps) {
        const left = now.filter((prefix) => outside.includes(prefix));
        for (const one of SPAN) {
          if (covers(from.outside, one) && covers(to.outside, one)) assert(covers(left, one));
        }
        now = outside;
      }
    }),
  );
});
