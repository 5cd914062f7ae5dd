import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import type { Leadership } from "../model/leadership.ts";
import { validateObject } from "../model/validate.ts";
import { startServer } from "../server/server.ts";
import { openHttpStore } from "../store/http-store.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { contractOfElections, type ElectionSetup, mutable } from "./election-contract.ts";
import { openStoreElection, sight, vacantIn } from "./store-election.ts";

const logger = pino({ level: "silent" });

function setup(t: TestContext, store: Store): ElectionSetup {
  return {
    store,
    candidate: (holder) => {
      const voice = mutable(store);
      const election = openStoreElection({
        store: voice.store,
        group: "test",
        holder,
        ttlMs: 600,
        logger,
      });
      t.after(() => election.close());
      return { election, mute: voice.mute };
    },
  };
}

contractOfElections("the store in memory", async (t) => {
  const store = openMemoryStore();
  t.after(() => store.close());
  return setup(t, store);
});

contractOfElections("the store behind a server", async (t) => {
  const behind = openMemoryStore();
  const server = await startServer({ store: behind, host: "127.0.0.1", port: 0, logger });
  t.after(async () => {
    await server.close();
    await behind.close();
  });
  return setup(t, openHttpStore(server.url));
});

function leadership(holder: string, resourceVersion: string): Leadership {
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Leadership",
    metadata: { name: "l", uid: "u", resourceVersion },
    spec: { holder, ttlMs: 1000, since: "" },
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
