/** What became of a transaction whose answer was lost, judging by what its keys hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { settleAll } from "./etcd-store.ts";

const at = (key: string, value: string, revision: number) => ({ key, value, revision });
const WRITES = [
  { key: "a", value: "new", expected: 5 },
  { key: "b", value: "new", expected: 0 },
];

test("a transaction of which any write is there has taken place", () => {
  assert.equal(settleAll(WRITES, [at("a", "new", 9), at("b", "new", 9)]), "done");
  assert.equal(settleAll(WRITES, [at("a", "overwritten", 10), at("b", "new", 9)]), "done");
});

test("a transaction whose keys are all as before may still take place", () => {
  assert.equal(settleAll([WRITES[0]!], [at("a", "old", 5)]), "pending");
  assert.equal(settleAll(WRITES, [at("a", "old", 5), undefined]), "pending");
});

test("a transaction of which one key is as before and another has moved on never takes place", () => {
  assert.equal(settleAll(WRITES, [at("a", "old", 5), at("b", "somebody else's", 8)]), "refused");
});

test("a transaction whose keys have all moved on is unclear, and so is a creation of what is not there", () => {
  assert.equal(settleAll(WRITES, [at("a", "other", 8), at("b", "other", 9)]), "unclear");
  assert.equal(settleAll([WRITES[1]!], [undefined]), "unclear");
});
