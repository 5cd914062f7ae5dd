/** The controller on real stores: what it makes of what is declared, of failures, and of its own death. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { NattoError } from "../errors.ts";
import type { Members } from "../membership/membership.ts";
import { openStaticMembership } from "../membership/static-membership.ts";
import { openStoreMembership } from "../membership/store-membership.ts";
import { cell, gateway, node, slotTable } from "../planner/fixtures.ts";
import { plan } from "../planner/plan.ts";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import type { Store } from "../store/store.ts";
import { type Controller, startController } from "./controller.ts";
import {
  ALL,
  alive,
  declare,
  declareCloud,
  lease,
  owners,
  readAll,
  startHearts,
  untilQuiet,
} from "./fixtures.ts";
import { writesFor } from "./writes.ts";

const logger = pino({ level: "silent" });

const STORES: Readonly<Record<string, (t: TestContext) => Promise<Store>>> = {
  memory: async (t) => {
    const store = openMemoryStore();
    t.after(() => store.close());
    return store;
  },
  sqlite: async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "natto-controller-"));
    const store = openSqliteStore(join(folder, "natto.db"));
    t.after(async () => {
      await store.close();
      await rm(folder, { recursive: true });
    });
    return store;
  },
};

function start(t: TestContext, store: Store, members = openStaticMembership(ALL)): Controller {
  const controller = startController({ store, membership: members, logger, debounceMs: 1 });
  t.after(() => controller.close());
  return controller;
}

/** For each gateway: who owns which slot. */
async function ownerTables(store: Store): Promise<ReadonlyMap<string, string>[]> {
  return (await store.list({ kind: "Placement" })).items.map(({ spec }) => slotTable(spec, "owners"));
}

async function condition(store: Store, kind: "NatGateway" | "Cell", name: string, type: string) {
  const object = await store.get(kind === "Cell" ? { kind, name } : { kind, namespace: "t", name });
  return object?.status?.conditions.find((c) => c.type === type);
}

/** Asserts that the store says exactly what is planned. */
async function assertConverged(store: Store, members: Members): Promise<void> {
  const stored = await readAll(store);
  const writes = writesFor(plan({ ...stored, members }), stored, members, "");
  assert.deepEqual(writes, { placements: [], rollouts: [], nodeConfigs: [], statuses: [], leases: [] });
}

for (const [name, open] of Object.entries(STORES)) {
  test(`${name}: nodes that are alive and ready share the slots; every node gets its configuration`, async (t) => {
    const store = await open(t);
    await declareCloud(store);
    await untilQuiet(start(t, store));
    assert.deepEqual([...(await owners(store))].toSorted(), [
      ["n1", 21],
      ["n2", 21],
      ["n3", 21],
    ]);
    const config = await store.get({ kind: "NodeConfig", name: "n2" });
    assert.deepEqual(
      config?.spec.peers.map((peer) => peer.name),
      ["n1", "n3"],
    );
    assert.deepEqual(
      config?.spec.gateways.map((g) => g.name),
      ["g1", "g2"],
    );
    const status = (await store.get({ kind: "NatGateway", namespace: "t", name: "g1" }))?.status;
    assert.deepEqual(status?.addresses, ["203.0.113.0"]);
    assert.deepEqual(status?.owners, { n1: 21, n2: 21, n3: 21 });
    assert.equal((await condition(store, "NatGateway", "g1", "Ready"))?.status, "True");
    assert.equal((await store.get({ kind: "Cell", name: "c1" }))?.status?.readyNodes, 3);
    assert.equal((await store.get({ kind: "AddressPool", name: "p1" }))?.status?.allocated, 2);
  });

  test(`${name}: once all is published it writes nothing more, however often it plans`, async (t) => {
    const store = await open(t);
    await declareCloud(store);
    const members = openStaticMembership(ALL);
    const controller = start(t, store, members);
    await untilQuiet(controller);
    const { writes, rounds } = controller.figures();
    const { resourceVersion } = await store.list({ kind: "Placement" });
    for (let i = 1; i <= 5; i++) {
      members.set(new Map([...ALL, ["unknown", i % 2 === 0 ? "alive" : "gone"]]));
      await until(() => controller.figures().rounds >= rounds + i, "it has planned again");
    }
    assert.equal(controller.figures().writes, writes);
    assert.equal((await store.list({ kind: "Placement" })).resourceVersion, resourceVersion);
  });

  test(`${name}: a controller that dies while it publishes is made good by the next one, which moves nothing`, async (t) => {
    for (const survived of [0, 1, 2, 3, 5, 8]) {
      const store = await open(t);
      await declareCloud(store);
      const members = openStaticMembership(ALL);
      const mortal = dyingAfter(store, survived);
      const first = startController({ store: mortal, membership: members, logger, debounceMs: 1 });
      await until(() => first.figures().rounds > 0, "the first one has tried");
      await first.close();
      const { placements } = await readAll(store);
      assert((await readAll(store)).nodeConfigs.length <= Math.max(0, survived - 1));
      await untilQuiet(start(t, store));
      await assertConverged(store, ALL);
      for (const { metadata, spec } of placements) {
        const { name: gatewayName, namespace } = metadata;
        assert.deepEqual((await store.get({ kind: "Placement", namespace, name: gatewayName }))?.spec, spec);
      }
    }
  });

  test(`${name}: the slots of a node whose heartbeat stops go to the next in line`, async (t) => {
    const store = await open(t);
    await declareCloud(store);
    await store.update<"Cell">({
      ...cell("c1"),
      spec: { ...cell("c1").spec, membership: { ...cell("c1").spec.membership, ttlSeconds: 1 } },
    });
    const membership = openStoreMembership(store, { tickMs: 10 });
    t.after(() => membership.close());
    await until(() => membership.ready(), "the membership listens");
    const beating = new Set(["n1", "n2", "n3"]);
    const heart = startHearts(store, beating);
    t.after(heart.stop);
    await until(() => membership.current().size === 3, "all are heard");
    const controller = startController({ store, membership, logger, debounceMs: 1 });
    t.after(() => controller.close());
    await until(async () => (await owners(store)).size === 3, "all own slots");
    const before = (await store.get({ kind: "Placement", namespace: "t", name: "g1" }))?.spec;
    beating.delete("n2");
    await until(async () => !(await owners(store)).has("n2"), "n2 owns nothing");
    const after = (await store.get({ kind: "Placement", namespace: "t", name: "g1" }))?.spec;
    const heirs = slotTable(before, "backups");
    const now = slotTable(after, "owners");
    for (const [slot, owner] of slotTable(before, "owners")) {
      assert.equal(now.get(slot), owner === "n2" ? heirs.get(slot) : owner);
    }
    beating.add("n2");
    await until(async () => (await owners(store)).get("n2") === 21, "n2 has its share again");
  });
}

test("a node that joins gets slots as soon as it reports Ready, and a configuration before", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store, ["n1", "n2"]);
  const controller = start(t, store);
  await untilQuiet(controller);
  await declare(store, node("n3", { ready: "Unknown" }));
  await until(
    async () => (await store.get({ kind: "NodeConfig", name: "n3" })) !== undefined,
    "n3 is configured",
  );
  await untilQuiet(controller);
  assert.equal((await owners(store)).has("n3"), false);
  const stored = await store.get({ kind: "GatewayNode", name: "n3" });
  await store.updateStatus<"GatewayNode">({ ...stored!, status: node("n3").status });
  await until(async () => (await owners(store)).get("n3") === 21, "n3 owns its share");
});

test("when most nodes vanish at once nothing moves and the cell says so, until they are seen again", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  const members = openStaticMembership(ALL);
  const controller = start(t, store, members);
  await untilQuiet(controller);
  const before = await ownerTables(store);
  members.set(alive("n1"));
  await until(
    async () => (await condition(store, "Cell", "c1", "MembershipDoubted"))?.status === "True",
    "the cell says so",
  );
  await untilQuiet(controller);
  assert.match((await condition(store, "Cell", "c1", "MembershipDoubted"))!.message, /n2, n3.*drained/);
  assert.deepEqual(await ownerTables(store), before);
  members.set(ALL);
  await until(
    async () => (await condition(store, "Cell", "c1", "MembershipDoubted"))?.status === "False",
    "the doubt ends",
  );
  assert.deepEqual(await ownerTables(store), before);
});

test("a gateway that contradicts another is set aside with a reason, and disturbs nobody", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  const controller = start(t, store);
  await untilQuiet(controller);
  const { placements, nodeConfigs } = await readAll(store);
  await declare(store, gateway("g3", { sources: ["10.0.0.0/16"] }));
  await until(
    async () => (await condition(store, "NatGateway", "g3", "Accepted"))?.reason === "SourceOverlap",
    "g3 is told",
  );
  await untilQuiet(controller);
  const after = await readAll(store);
  assert.deepEqual(after.placements, placements);
  assert.deepEqual(after.nodeConfigs, nodeConfigs);
});

test("what is deleted is cleaned up: placements, configurations, heartbeats", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  await store.create<"Lease">(lease("n3", 1));
  const members = openStaticMembership(ALL);
  const controller = start(t, store, members);
  await untilQuiet(controller);
  await store.delete({ kind: "NatGateway", namespace: "t", name: "g1" });
  await store.delete({ kind: "GatewayNode", name: "n3" });
  members.set(alive("n1", "n2"));
  await until(async () => {
    const { placements, nodeConfigs, leases } = await readAll(store);
    return placements.length === 1 && nodeConfigs.length === 2 && leases.length === 0;
  }, "all is cleaned up");
  assert.deepEqual([...(await owners(store, "g2")).keys()].toSorted(), ["n1", "n2"]);
});

test("what somebody changes or deletes by hand is put right", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  const controller = start(t, store);
  await untilQuiet(controller);
  const config = (await store.get({ kind: "NodeConfig", name: "n1" }))!;
  await store.update<"NodeConfig">({ ...config, spec: { ...config.spec, gateways: [] } });
  await store.delete({ kind: "NodeConfig", name: "n2" });
  await until(async () => {
    const { nodeConfigs } = await readAll(store);
    return nodeConfigs.length === 3 && nodeConfigs.every(({ spec }) => spec.gateways.length === 2);
  }, "it is put right");
  await untilQuiet(controller);
  await assertConverged(store, ALL);
});

test("a store that answers only in part is not acted upon", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  const first = start(t, store);
  await untilQuiet(first);
  await first.close();
  const before = await readAll(store);
  let asked = 0;
  const halfBlind: Store = {
    ...store,
    list: (selection) => {
      if (selection.kind !== "NatGateway") return store.list(selection);
      asked++;
      return Promise.reject(new NattoError("Unavailable", "the store is away"));
    },
  };
  const second = start(t, halfBlind);
  await until(() => asked >= 3, "it has tried");
  assert.equal(second.figures().rounds, 0);
  assert.deepEqual(await readAll(store), before);
});

test("nothing is deleted for want of an object that the view has missed but the store has", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  const first = start(t, store);
  await untilQuiet(first);
  await first.close();
  const before = await readAll(store);
  const forgetful: Store = {
    ...store,
    list: async (selection) => {
      const list = await store.list(selection);
      return selection.kind === "NatGateway" || selection.kind === "GatewayNode"
        ? { ...list, items: [] }
        : list;
    },
  };
  const second = start(t, forgetful);
  await until(() => second.figures().rounds > 0, "it has planned");
  await second.close();
  const after = await readAll(store);
  assert.deepEqual(after.placements, before.placements);
  assert.deepEqual(after.nodeConfigs, before.nodeConfigs);
});

test("a change by somebody else in the middle of a round is planned again, not overwritten", async (t) => {
  const store = openMemoryStore();
  await declareCloud(store);
  let interfered = false;
  const contested: Store = {
    ...store,
    commit: async (changes) => {
      const status = changes.find(({ action }) => action === "updateStatus");
      if (status?.action === "updateStatus" && status.draft.kind === "NatGateway" && !interfered) {
        interfered = true;
        const key = { kind: "NatGateway", namespace: "t", name: status.draft.metadata.name } as const;
        const current = (await store.get(key))!;
        const addresses = { ...current.spec.addresses, count: 2 };
        await store.update<"NatGateway">({ ...current, spec: { ...current.spec, addresses } });
      }
      return store.commit(changes);
    },
  };
  const controller = start(t, contested);
  await until(() => interfered, "somebody interferes");
  await untilQuiet(controller);
  await assertConverged(store, ALL);
  const { gateways } = await readAll(store);
  assert.deepEqual(gateways.map((g) => g.status?.addresses.length).toSorted(), [1, 2]);
});

/** A store that takes so many writes and is then away. */
function dyingAfter(store: Store, writes: number): Store {
  let left = writes;
  const spend = <T>(work: () => Promise<T>): Promise<T> =>
    left-- > 0 ? work() : Promise.reject(new NattoError("Unavailable", "the store is away"));
  return {
    ...store,
    commit: (changes) => spend(() => store.commit(changes)),
  };
}
