import assert from "node:assert/strict";
import { test } from "node:test";
import type { Leadership } from "../model/leadership.ts";
import { validateObject } from "../model/validate.ts";
import { startServer } from "../server/server.ts";
import { openHttpStore } from "../store/http-store.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { contractOfElections, electionsOn, SILENT } from "./election-contract.ts";
import { sight, vacantIn } from "./store-election.ts";

contractOfElections("the store in memory", async (t) => {
  const store = openMemoryStore();
  t.after(() => store.close());
  return electionsOn(t, store);
});

contractOfElections("the store behind a server", async (t) => {
  const behind = openMemoryStore();
  const server = await startServer({ store: behind, host: "127.0.0.1", port: 0, logger: SILENT });
  t.after(async () => {
    await server.close();
    await behind.close();
  });
  return electionsOn(t, openHttpStore(server.url));
});

function leadership(holder: string, resourceVersion: string, lease?: string): Leadership {
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Leadership",
    metadata: { name: "l", uid: "u", resourceVersion },
    spec: { holder, ttlMs: 1000, since: "", ...(lease && { lease }) },
  }) as Leadership;
}

test("a leadership is vacant once it has been watched for its time to live without a change", () => {
  const first = sight(undefined, leadership("a", "1"), 5_000, false);
  assert.equal(vacantIn(leadership("a", "1"), first, 5_000), 1_000);
  const same = sight(first, leadership("a", "1"), 5_900, false);
  assert.equal(vacantIn(leadership("a", "1"), same, 5_900), 100);
  assert.equal(vacantIn(leadership("a", "1"), same, 7_000), 0);
  const renewed = sight(same, leadership("a", "2"), 5_950, false);
  assert.equal(vacantIn(leadership("a", "2"), renewed, 6_000), 950);
});

test("whoever could not hear the store waits anew, and what nobody holds is vacant at once", () => {
  const first = sight(undefined, leadership("a", "1"), 0, false);
  const deaf = sight(first, leadership("a", "1"), 9_000, true);
  assert.equal(vacantIn(leadership("a", "1"), deaf, 9_000), 1_000);
  assert.equal(vacantIn(leadership("", "1"), deaf, 9_000), 0);
  assert.equal(vacantIn(undefined, sight(deaf, undefined, 9_000, false), 9_000), 0);
});

test("a leadership that is bound to a lease is vacant when the store has deleted it, and not before", () => {
  const found = leadership("a", "1", "7");
  const first = sight(undefined, found, 0, false);
  assert.equal(vacantIn(found, first, 1_000_000), Number.POSITIVE_INFINITY);
  assert.equal(vacantIn(undefined, sight(first, undefined, 1_000_000, false), 1_000_000), 0);
});
