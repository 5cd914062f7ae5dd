import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  cidr,
  cidrContains,
  cidrSize,
  cidrsOverlap,
  formatAddress,
  formatCidr,
  netmask,
  parseAddress,
  parseCidr,
} from "./ipv4.ts";

const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const block = fc
  .tuple(uint32, fc.integer({ min: 0, max: 32 }))
  .map(([at, bits]) => ({ first: (at & netmask(bits)) >>> 0, bits }));

test("addresses and blocks are read back as they were written", () => {
  fc.assert(fc.property(uint32, (a) => assert.equal(parseAddress(formatAddress(a)), a)));
  fc.assert(fc.property(block, (b) => assert.deepEqual(parseCidr(formatCidr(b)), { ok: true, cidr: b })));
});

test("what is not four decimal numbers is not an address", () => {
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.2.3.x",
    "0x1.2.3.4",
    " 1.2.3.4",
    "1.2.3.4/32",
    "::1",
    "01.2.3.4",
  ]) {
    assert.equal(parseAddress(text), undefined, text);
  }
});

test("host bits are told apart from bad syntax, with the block that was meant", () => {
  assert.deepEqual(parseCidr("10.0.0.1/24"), { ok: false, problem: "host-bits", suggestion: "10.0.0.0/24" });
  for (const text of ["10.0.0.0", "10.0.0.0/33", "10.0.0/24", "10.0.0.0/-1", "a/8"]) {
    assert.deepEqual(parseCidr(text), { ok: false, problem: "syntax" }, text);
  }
  assert.throws(() => cidr("10.0.0.1/24"), RangeError);
});

test("two blocks overlap exactly when one contains the other's first address", () => {
  fc.assert(
    fc.property(block, block, (a, b) => {
      assert.equal(cidrsOverlap(a, b), cidrContains(a, b.first) || cidrContains(b, a.first));
      assert.equal(cidrsOverlap(a, b), cidrsOverlap(b, a));
    }),
  );
});

test("a block contains its first and last address, and not those beside it", () => {
  fc.assert(
    fc.property(block, (b) => {
      const last = b.first + cidrSize(b) - 1;
      assert.ok(cidrContains(b, b.first) && cidrContains(b, last));
      if (b.first > 0) assert.ok(!cidrContains(b, b.first - 1));
      if (last < 0xffffffff) assert.ok(!cidrContains(b, last + 1));
    }),
  );
});
