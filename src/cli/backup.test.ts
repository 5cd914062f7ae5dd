import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { AnyObject } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import { cell, gateway } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import {
  BACKUP_KINDS,
  backedUp,
  closeCell,
  isPublished,
  openCells,
  restorationOf,
  restoreUnit,
} from "./backup.ts";
import { natto, startServer } from "./fixtures.ts";

function open(t: TestContext): Store {
  const store = openMemoryStore();
  t.after(() => store.close());
  return store;
}

function placement(namespace: string, name: string): AnyObject {
  const spec = { cell: "c1", pool: "p1", portsPerSlot: 32_256, nodes: ["a"], addresses: [] };
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Placement",
    metadata: { namespace, name },
    spec,
  });
}

/** What a store has, as a backup has it. */
async function backupOf(store: Store): Promise<readonly AnyObject[]> {
  const lists = await Promise.all(BACKUP_KINDS.map((kind) => store.list({ kind })));
  return lists.flatMap(({ items }) => items.map((item) => validateObject(backedUp(item))));
}

/** Closing a cell after its restoration counts as a change. */
function ungenerated(object: AnyObject): AnyObject {
  return { ...object, metadata: { ...object.metadata, generation: 0 } } as AnyObject;
}

async function restore(store: Store, backup: readonly AnyObject[], overwrite = false, dryRun = false) {
  const outcomes: string[] = [];
  for (const unit of restorationOf(backup).units) {
    outcomes.push(...(await restoreUnit(store, unit, { overwrite, dryRun })));
  }
  for (const open of await openCells(store, backup)) {
    assert.equal((await store.get({ kind: "Cell", name: open.metadata.name }))?.spec.rollout.canaries, 0);
    assert(await isPublished(store, open, backup), "there are no nodes");
    await closeCell(store, open);
  }
  return outcomes;
}

test("a backup that is restored into an empty store gives the same backup again, and restoring it twice changes nothing", async (t) => {
  const [old, fresh] = [open(t), open(t)];
  await old.create(cell("c1", 1));
  await old.update(cell("c1", 2, { zone: "a" }));
  await old.create(gateway("t", "g1"));
  await old.create(placement("t", "g1"));
  await old.create(gateway("t", "g2", "10.1.0.0/24"));
  const backup = await backupOf(old);
  assert.deepEqual(await restore(fresh, backup, false, true), Array(4).fill("restored"));
  assert.deepEqual(await backupOf(fresh), []);
  assert.deepEqual(await restore(fresh, backup), Array(4).fill("restored"));
  assert.deepEqual((await backupOf(fresh)).map(ungenerated), backup.map(ungenerated));
  const { resourceVersion } = await fresh.list({ kind: "Cell" });
  assert.deepEqual(await restore(fresh, backup, true), Array(4).fill("unchanged"));
  assert.equal((await fresh.list({ kind: "Cell" })).resourceVersion, resourceVersion);
});

test("a gateway and its placement come back together; a placement without its gateway, and what follows from others, do not", () => {
  const backup = [gateway("t", "g1"), placement("t", "g1"), placement("t", "lost"), cell("c1")];
  const lease = { ...cell("n1"), kind: "Lease" } as unknown as AnyObject;
  const { units, left } = restorationOf([...backup, lease]);
  assert.deepEqual(
    units.map((unit) => unit.map(({ kind }) => kind)),
    [["Cell"], ["Placement", "NatGateway"]],
  );
  assert.deepEqual(
    left.map(({ object }) => object.metadata.name),
    ["lost", "n1"],
  );
});

test("what exists and differs is kept, or overwritten when that is asked for, and stays who it is", async (t) => {
  const store = open(t);
  const own = await store.create<"Cell">(cell("c1", 1));
  const theirs = { ...cell("c1", 2), metadata: { ...cell("c1").metadata, uid: "old", generation: 7 } };
  assert.deepEqual(await restore(store, [theirs]), ["kept"]);
  assert.deepEqual(await store.get({ kind: "Cell", name: "c1" }), own);
  assert.deepEqual(await restore(store, [theirs], true), ["overwritten"]);
  const after = await store.get({ kind: "Cell", name: "c1" });
  assert.deepEqual([after?.spec.vxlan.port, after?.metadata.uid], [2, own.metadata.uid]);
});

test("natto export writes what natto import restores through a server, with its identity", async (t) => {
  const [{ url: from }, { url: to }] = await Promise.all([startServer(t), startServer(t)]);
  const manifest = (object: AnyObject): string => JSON.stringify(object);
  const applied = await natto(["apply", "-f", "-"], {
    server: from,
    stdin: [cell("c1"), gateway("t", "g1")].map(manifest).join("\n---\n"),
  });
  assert.equal(applied.code, 0, applied.stderr);
  const { stdout: backup } = await natto(["export"], { server: from });
  const dry = await natto(["import", "-f", "-", "--dry-run"], { server: to, stdin: backup });
  assert.match(dry.stdout, /^cell\.natto\.dev\/c1 restored \(dry run\)$/m);
  const imported = await natto(["import", "-f", "-"], { server: to, stdin: backup });
  assert.deepEqual([imported.code, imported.stderr], [0, ""]);
  const ungenerate = (text: string): string => text.replace(/generation: \d+/g, "");
  assert.equal(ungenerate((await natto(["export"], { server: to })).stdout), ungenerate(backup));
  const onlyGateways = await natto(["export", "gw", "-n", "t"], { server: to });
  assert.match(onlyGateways.stdout, /^---\napiVersion: .*\nkind: NatGateway\n/);
  assert.doesNotMatch(onlyGateways.stdout, /kind: Cell/);
});
