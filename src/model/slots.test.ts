import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { address, type Cidr, cidr, cidrsOverlap, netmask } from "./ipv4.ts";
import {
  endpointAt,
  endpointHash,
  endpointIndex,
  FABRIC_NETWORK,
  FIRST_PORT,
  inboundSlot,
  isSlotSize,
  LAST_PORT,
  mix32,
  outboundSlot,
  outboundSlotOf,
  PORTS_PER_ADDRESS,
  slotPorts,
  slotsPerAddress,
} from "./slots.ts";

const slotSizes = Array.from({ length: PORTS_PER_ADDRESS }, (_, i) => i + 1).filter(isSlotSize);
const slotSize = fc.constantFrom(...slotSizes);
const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const publicAddresses = fc.uniqueArray(uint32, { minLength: 1, maxLength: 8 });

test("every usable port lies in exactly one slot, and in that slot's range", () => {
  fc.assert(
    fc.property(slotSize, fc.integer({ min: FIRST_PORT, max: LAST_PORT }), (size, port) => {
      const slot = inboundSlot(port, size);
      assert.ok(slot !== undefined && slot >= 0 && slot < slotsPerAddress(size));
      const { first, last } = slotPorts(slot, size);
      assert.ok(first <= port && port <= last);
    }),
  );
});

test("slots are equal, contiguous, and cover all usable ports", () => {
  for (const size of slotSizes) {
    let next = FIRST_PORT;
    for (let slot = 0; slot < slotsPerAddress(size); slot++) {
      const { first, last } = slotPorts(slot, size);
      assert.equal(first, next);
      assert.equal(last - first + 1, size);
      next = last + 1;
    }
    assert.equal(next, LAST_PORT + 1);
  }
});

test("ports below 1024 are in no slot", () => {
  assert.equal(inboundSlot(1023, 1024), undefined);
  assert.equal(inboundSlot(0, 64), undefined);
  assert.equal(inboundSlot(1024, 1024), 0);
  assert.equal(inboundSlot(65535, 1024), 62);
});

test("all flows of an endpoint have one address and slot, whatever the order of the addresses", () => {
  fc.assert(
    fc.property(uint32, publicAddresses, slotSize, (source, addresses, size) => {
      const chosen = outboundSlot(FABRIC_NETWORK, source, addresses, size);
      const reversed = addresses.toReversed();
      const again = outboundSlot(FABRIC_NETWORK, source, reversed, size);
      assert.equal(reversed[again.addressIndex], addresses[chosen.addressIndex]);
      assert.equal(again.slot, chosen.slot);
      assert.ok(chosen.slot < slotsPerAddress(size));
    }),
  );
});

test("another address takes endpoints from all and moves nobody among the others; one that goes moves only its own", () => {
  fc.assert(
    fc.property(
      fc.array(uint32, { minLength: 1, maxLength: 50 }),
      publicAddresses,
      uint32,
      (sources, addresses, added) => {
        fc.pre(!addresses.includes(added));
        for (const source of sources) {
          const before = addresses[outboundSlot(FABRIC_NETWORK, source, addresses, 1024).addressIndex];
          const grown = [...addresses, added];
          const after = grown[outboundSlot(FABRIC_NETWORK, source, grown, 1024).addressIndex];
          assert.ok(after === before || after === added);
        }
      },
    ),
  );
});

test("endpoints of a block spread evenly over addresses and slots", () => {
  const addresses = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map(address);
  const endpoints = 30_000;
  const perAddress = [0, 0, 0];
  const perSlot = Array.from({ length: 63 }, () => 0);
  for (let i = 0; i < endpoints; i++) {
    const { addressIndex, slot } = outboundSlot(FABRIC_NETWORK, address("10.0.0.0") + i, addresses, 1024);
    perAddress[addressIndex]!++;
    perSlot[slot]!++;
  }
  // Five standard deviations of a binomial: a fair hash is outside once in some million choices of the constants.
  const within = (found: number, share: number) =>
    Math.abs(found - endpoints * share) < 5 * Math.sqrt(endpoints * share * (1 - share));
  assert.ok(
    perAddress.every((n) => within(n, 1 / 3)),
    String(perAddress),
  );
  assert.ok(
    perSlot.every((n) => within(n, 1 / 63)),
    String(perSlot),
  );
});

test("the hash is the one that the dataplane computes", () => {
  // MurmurHash3's finaliser, by its published test: fmix32(1).
  assert.equal(mix32(1), 0x514e28b7);
  assert.equal(mix32(0), 0);
  assert.equal(endpointHash(0, 1), mix32(1));
  assert.notEqual(endpointHash(1, 1), endpointHash(0, 1));
  assert.deepEqual(outboundSlotOf("10.0.0.11", ["203.0.113.0"], 1024), { addressIndex: 0, slot: 55 });
});

/** Blocks that do not overlap. */
const blocks = fc
  .array(fc.tuple(uint32, fc.integer({ min: 8, max: 32 })), { minLength: 1, maxLength: 6 })
  .map((raw) => raw.map(([at, bits]): Cidr => ({ first: (at & netmask(bits)) >>> 0, bits })))
  .map((all) => all.filter((block, i) => !all.slice(0, i).some((other) => cidrsOverlap(block, other))));

test("an endpoint's index and the endpoint at an index are inverses of each other", () => {
  fc.assert(
    fc.property(blocks, fc.nat(), (sources, seed) => {
      const total = sources.reduce((sum, { bits }) => sum + 2 ** (32 - bits), 0);
      const index = seed % total;
      const endpoint = endpointAt(sources, index);
      assert.ok(endpoint !== undefined);
      assert.equal(endpointIndex(sources, endpoint), index);
      assert.equal(endpointAt(sources, total), undefined);
    }),
  );
});

test("an address in none of the sources has no index", () => {
  assert.equal(endpointIndex([cidr("10.0.0.0/24")], address("10.0.1.0")), undefined);
  assert.equal(endpointIndex([cidr("10.0.0.0/24"), cidr("10.2.0.0/31")], address("10.2.0.1")), 257);
});
