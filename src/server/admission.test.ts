import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { AddressPool } from "../model/address-pool.ts";
import { cidr, cidrContains, formatCidr, netmask } from "../model/ipv4.ts";
import { validateObject } from "../model/validate.ts";
import { poolFaults } from "./admission.ts";
import { declare } from "./fixtures.ts";
import type { Holders } from "./static-admission.ts";

/** Blocks within 203.0.113.0/28, so that they often overlap. */
const BASE = cidr("203.0.113.0/28").first;
const block = fc
  .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 28, max: 32 }))
  .map(([offset, bits]) => formatCidr({ first: ((BASE + offset) & netmask(bits)) >>> 0, bits }));
const blocks = fc.array(block, { minLength: 1, maxLength: 4 });

const NOBODY: Holders = { placements: [], floats: [], forwards: [] };

function pool(name: string, cidrs: readonly string[]): AddressPool {
  const object = validateObject(declare("AddressPool", name, { cidrs }));
  assert(object.kind === "AddressPool");
  return object;
}

test("a pool is faulted exactly when some address would be in two of its blocks, or in two pools", () => {
  fc.assert(
    fc.property(blocks, fc.array(blocks, { maxLength: 3 }), (mine, theirs) => {
      const others = theirs.map((cidrs, i) => pool(`p${i}`, cidrs));
      const faults = poolFaults(pool("mine", mine), [...others, pool("mine", ["203.0.113.0/24"])], NOBODY);
      const addresses = Array.from({ length: 16 }, (_, i) => BASE + i);
      const twice = addresses.some((address) => {
        const own = mine.filter((text) => cidrContains(cidr(text), address)).length;
        const foreign = theirs.some((cidrs) => cidrs.some((text) => cidrContains(cidr(text), address)));
        return own > 1 || (own === 1 && foreign);
      });
      assert.equal(faults.length > 0, twice);
    }),
  );
});

test("however many faults there are, only the first few are listed", () => {
  const others = Array.from({ length: 50 }, (_, i) => pool(`p${i}`, ["203.0.113.0/28"]));
  assert.equal(poolFaults(pool("mine", ["203.0.113.0/30"]), others, NOBODY).length, 10);
});
