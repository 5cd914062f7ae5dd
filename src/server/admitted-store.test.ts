import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import { validateObject } from "../model/validate.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { type AdmittedStore, makeAdmittedStore } from "./admitted-store.ts";
import { declare, gatewaySpec, nodeSpec, POOL } from "./fixtures.ts";

function open(t: TestContext): { readonly store: AdmittedStore; readonly behind: Store } {
  const behind = openMemoryStore();
  t.after(() => behind.close());
  return { store: makeAdmittedStore(behind), behind };
}

const pool = (name: string, ...cidrs: string[]) => validateObject(declare("AddressPool", name, { cidrs }));
const gateway = (name: string, sources: readonly string[], count = 1, cell = "c1") =>
  validateObject(declare("NatGateway", name, gatewaySpec(sources, count, cell), "a"));
const node = (name: string, address: string, cell = "c1") =>
  validateObject(declare("GatewayNode", name, nodeSpec(address, cell)));
const placement = (name: string, ...addresses: string[]) =>
  validateObject(
    declare(
      "Placement",
      name,
      {
        cell: "c1",
        pool: "p1",
        portsPerSlot: 1024,
        nodes: [],
        addresses: addresses.map((address) => ({ address, owners: [], backups: [] })),
      },
      "a",
    ),
  );

async function rejected(write: Promise<unknown>): Promise<NattoError> {
  const error = await write.then(
    () => assert.fail("it was admitted"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof NattoError && error.code === "Rejected", String(error));
  return error;
}

test("a pool that overlaps another is rejected with both named, however they were written", async (t) => {
  const { store } = open(t);
  await store.create(pool("p1", "198.51.100.0/24", "203.0.113.0/24"));
  const error = await rejected(store.create(pool("p2", "192.0.2.0/24", "203.0.113.64/26")));
  assert.equal(
    error.message,
    "AddressPool p2 cannot be created: spec.cidrs[1]: 203.0.113.64/26 overlaps 203.0.113.0/24 of AddressPool p1; " +
      "an address belongs to one pool only: remove it from one of them",
  );
  await store.create(pool("p2", "192.0.2.0/24"));
  const grown = await rejected(store.update(pool("p2", "192.0.2.0/24", "198.51.0.0/16")));
  assert.equal(grown.details[0]?.field, "spec.cidrs[1]");
  await store.update(pool("p1", "203.0.113.0/24"));
  await store.update(pool("p2", "192.0.2.0/24", "198.51.0.0/16"));
});

test("a pool or gateway that overlaps itself is rejected", async (t) => {
  const { store } = open(t);
  const inPool = await rejected(store.create(pool("p1", "203.0.113.0/24", "203.0.113.7/32")));
  assert.match(inPool.message, /spec.cidrs\[1\]: 203.0.113.7\/32 overlaps spec.cidrs\[0\]/);
  const inGateway = await rejected(store.create(gateway("g1", ["10.0.0.0/24", "10.0.0.0/24"])));
  assert.match(inGateway.message, /spec.sources\[1\]/);
});

test("of two overlapping pools that are created at the same time only one is admitted", async (t) => {
  const { store, behind } = open(t);
  const results = await Promise.allSettled([
    store.create(pool("p1", "203.0.113.0/24")),
    store.create(pool("p2", "203.0.113.0/25")),
  ]);
  assert.deepEqual(
    results.map((result) => result.status),
    ["fulfilled", "rejected"],
  );
  assert.equal((await behind.list({ kind: "AddressPool" })).items.length, 1);
});

test("two gateways of a cell cannot serve the same inside address; of two cells they can", async (t) => {
  const { store } = open(t);
  await store.create(gateway("g1", ["10.0.0.0/16"]));
  const error = await rejected(store.create(gateway("g2", ["10.0.7.0/24"])));
  assert.match(error.message, /10.0.7.0\/24 overlaps 10.0.0.0\/16 of NatGateway a\/g1/);
  await store.create(gateway("g2", ["10.0.7.0/24"], 1, "c2"));
  await rejected(store.update(gateway("g2", ["10.0.7.0/24"])));
});

test("a gateway may name a cell and a pool that do not exist", async (t) => {
  const { store } = open(t);
  await store.create(gateway("g1", ["10.0.0.0/24"], 64));
});

test("a gateway that needs more addresses than its pool has is rejected with the numbers", async (t) => {
  const { store } = open(t);
  await store.create(validateObject(declare("AddressPool", "p1", POOL)));
  await store.create(placement("g1", "203.0.113.0", "203.0.113.1"));
  const error = await rejected(store.create(gateway("g2", ["10.0.0.0/24"], 5)));
  assert.match(
    error.message,
    /spec.addresses.count: asks for 5 addresses, but AddressPool p1 has 4 in total, of which 2 are free; ask for at most 4/,
  );
  await store.create(gateway("g2", ["10.0.0.0/24"], 4));
});

test("a pool keeps the addresses that gateways hold", async (t) => {
  const { store } = open(t);
  await store.create(pool("p1", "203.0.113.0/30", "198.51.100.0/30"));
  await store.create(placement("g1", "203.0.113.1"));
  const shrunk = await rejected(store.update(pool("p1", "198.51.100.0/30")));
  assert.match(shrunk.message, /203.0.113.1 is in use by NatGateway a\/g1/);
  const gone = await rejected(store.delete({ kind: "AddressPool", name: "p1" }));
  assert.match(gone.message, /AddressPool p1 cannot be deleted: .*203.0.113.1 in use by NatGateway a\/g1/);
  await store.update(pool("p1", "203.0.113.0/30"));
  await store.delete({ kind: "Placement", namespace: "a", name: "g1" });
  await store.delete({ kind: "AddressPool", name: "p1" });
});

test("two nodes of a cell cannot have the same address", async (t) => {
  const { store } = open(t);
  await store.create(node("n1", "10.9.0.1"));
  const error = await rejected(store.create(node("n2", "10.9.0.1")));
  assert.match(error.message, /spec.address: 10.9.0.1 is already the address of GatewayNode n1 in Cell c1/);
  await store.create(node("n3", "10.9.0.1", "c2"));
});

test("a cell stays while nodes or gateways refer to it", async (t) => {
  const { store } = open(t);
  await store.create(validateObject(declare("Cell", "c1", {})));
  await store.create(node("n1", "10.9.0.1"));
  await store.create(gateway("g1", ["10.0.0.0/24"]));
  const error = await rejected(store.delete({ kind: "Cell", name: "c1" }));
  assert.deepEqual(
    error.details.map((detail) => detail.message),
    ["GatewayNode n1 refers to it", "NatGateway a/g1 refers to it"],
  );
  await store.delete({ kind: "GatewayNode", name: "n1" });
  await store.delete({ kind: "NatGateway", namespace: "a", name: "g1" });
  await store.delete({ kind: "Cell", name: "c1" });
});

test("labels of an object can be changed though a rule would refuse its spec", async (t) => {
  const { store, behind } = open(t);
  await behind.create(pool("p1", "203.0.113.0/24"));
  await behind.create(pool("p2", "203.0.113.0/24"));
  const draft = pool("p2", "203.0.113.0/24");
  await store.update({ ...draft, metadata: { ...draft.metadata, labels: { a: "b" } } });
});

test("what others wrote behind the door counts too", async (t) => {
  const { store, behind } = open(t);
  await store.create(pool("p1", "203.0.113.0/24"));
  await behind.create(pool("p2", "198.51.100.0/24"));
  await rejected(store.create(pool("p3", "198.51.100.0/25")));
  await behind.delete({ kind: "AddressPool", name: "p2" });
  await store.create(pool("p3", "198.51.100.0/25"));
});
