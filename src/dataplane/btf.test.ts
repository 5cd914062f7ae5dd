import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { parseBtf, structCodec, swap16, swap32 } from "./btf.ts";
import { type AddressRow, readCodecs } from "./layouts.ts";
import { readBtf } from "./libbpf.ts";
import { COUNTERS } from "./model/state.ts";

const OBJECT = join(import.meta.dirname, "../../build/natto.bpf.o");

test("the compiled program has the structures that this version knows", () => {
  const codecs = readCodecs(OBJECT);
  assert.equal(codecs.record.size, 64, "a record fills a cache line");
  assert.deepEqual(codecs.counterNames, COUNTERS, "program, model and documentation count the same things");
});

test("a structure whose members are others is refused, and both are named", () => {
  const layouts = parseBtf(readBtf(OBJECT));
  assert.throws(
    () => layouts.struct("slot", ["owner", "spare"]),
    /'struct slot' has the members owner, backup, .*; .*expects owner, spare/,
  );
  assert.throws(() => layouts.struct("no_such", []), /no type 'no_such'/);
});

test("what is encoded is decoded, member by member", () => {
  const layouts = parseBtf(readBtf(OBJECT));
  const codec = structCodec<AddressRow>(
    layouts.struct("public_address", [
      "gateway",
      "first_slot",
      "slot_count",
      "ports_per_slot",
      "has_forwards",
    ]),
  );
  const row = { gateway: 0xfffffffe, first_slot: 2, slot_count: 63, ports_per_slot: 1024, has_forwards: 1 };
  assert.deepEqual(codec.decode(codec.encode(row)), row);
});

test("arrays, 64-bit numbers and offsets lie where C puts them", () => {
  const { gateway, config } = readCodecs(OBJECT);
  const nothing = gateway.decode(Buffer.alloc(gateway.size));
  const bytes = gateway.encode({
    ...nothing,
    timeouts: [3, 4, 5, 6, 7],
    addresses: [...Array(63).fill(8), 9],
  });
  assert.equal(bytes.readUInt32LE(12 + 4 * 4), 7);
  assert.equal(bytes.readUInt32LE(gateway.size - 4), 9);
  const row = {
    node_address: 1,
    vxlan_port: 2,
    programmed: 1,
    clock_offset: 2n ** 40n,
    static_mappings: 3,
    stands_down: 0,
    returning_until: 0n,
    port_key0: 2n ** 64n - 1n,
    port_key1: 1n,
  };
  const encoded = config.encode(row);
  assert.equal(encoded.readBigUInt64LE(8), 2n ** 40n);
});

test("byte order is swapped both ways", () => {
  assert.equal(swap32(0x01020304), 0x04030201);
  assert.equal(swap32(swap32(0xfffefdfc)), 0xfffefdfc);
  assert.equal(swap16(0x1234), 0x3412);
});
