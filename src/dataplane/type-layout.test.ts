import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { readTypes, STRUCT } from "./btf.ts";
import { readBtf } from "./libbpf.ts";
import { layoutDifference, layoutOfType, type TypeLayout } from "./type-layout.ts";

const BTF = readTypes(readBtf(join(import.meta.dirname, "../../build/natto.bpf.o")));

function layoutOf(name: string): TypeLayout {
  return layoutOfType(
    BTF,
    BTF.types.findIndex((type) => type.kind === STRUCT && type.name === name),
  );
}

const LAYOUT: TypeLayout = {
  members: ["__be32 record.remote_address at 0", "record_kind record.kind at 4"],
  values: ["record_kind.FREE = 0", "record_kind.SESSION = 1"],
};

function withMember(index: number, line: string): TypeLayout {
  return { ...LAYOUT, members: LAYOUT.members.map((member, i) => (i === index ? line : member)) };
}

test("a structure is told member by member, enums with their values, arrays with their length, what is opaque as one", () => {
  const record = layoutOf("record");
  assert.ok(record.members.includes("__be32 record.inside_address at 16"));
  assert.ok(record.values.includes("record_kind.SESSION = 1"));
  assert.ok(layoutOf("gateway").members.includes("__u32 gateway.timeouts[5] at 12"));
  assert.ok(layoutOf("gateway_counts").members.includes("__u64 gateway_counts.of[].bytes at 8"));
  assert.ok(layoutOf("sweeper").members.includes("bpf_timer sweeper.timer at 0"));
});

test("the same layout has no difference", () => {
  assert.equal(layoutDifference(LAYOUT, LAYOUT), undefined);
});

test("a member that lies elsewhere, has another type or another name is a difference", () => {
  for (const line of [
    "__be32 record.remote_address at 8",
    "__u32 record.remote_address at 0",
    "__be32 record.peer at 0",
  ]) {
    assert.equal(
      layoutDifference(LAYOUT, withMember(0, line)),
      `it has '__be32 record.remote_address at 0'; it lacks '${line}'`,
    );
  }
});

test("values that an enum has got since are none, and values that it may hold and nobody knows are one", () => {
  const newer = { ...LAYOUT, values: [...LAYOUT.values, "record_kind.MAPPING = 2"] };
  assert.equal(layoutDifference(LAYOUT, newer), undefined);
  assert.equal(layoutDifference(newer, LAYOUT), "it may hold 'record_kind.MAPPING = 2'");
});

test("of many differences the first are told, and how many more there are", () => {
  const other = { ...LAYOUT, members: [1, 2, 3, 4, 5].map((n) => `__u8 record.m${n} at ${n}`) };
  assert.match(layoutDifference(LAYOUT, other) ?? "", /it lacks '.*m1 at 1', '.*', '.*' and 2 more$/);
});
