import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { openMembership, startMember } from "./open-membership.ts";

const logger = { info: () => {}, warn: () => {} };

test("an address names the membership", async () => {
  const store = openMemoryStore();
  for (const url of ["store:", "consul://127.0.0.1:1"]) await openMembership(url, store).close();
  assert.equal(startMember("store:", logger), undefined);
  assert.equal(typeof startMember("consul://127.0.0.1:1", logger), "function");
  await store.close();
});

test("any other address is refused with those that are known", () => {
  for (const url of ["etcd://h", "store", "", "http://h:8500"]) {
    for (const open of [() => openMembership(url, openMemoryStore()), () => startMember(url, logger)]) {
      assert.throws(open, (error) => {
        assert(error instanceof NattoError && error.code === "BadRequest");
        return /use store: or consul:/.test(error.message);
      });
    }
  }
});
