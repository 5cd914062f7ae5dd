import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cell, rejectsWith } from "./fixtures.ts";
import { openStore } from "./open-store.ts";

test("memory:, file:PATH, http://ADDRESS and etcd://ADDRESS open the store that they name", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "natto-open-"));
  t.after(() => rm(folder, { recursive: true }));
  for (const url of ["memory:", `file:${join(folder, "natto.db")}`]) {
    const store = await openStore(url);
    assert.equal(store.description, url);
    await store.create(cell("c1"));
    await store.close();
  }
  const remote = await openStore("http://127.0.0.1:7474/");
  assert.equal(remote.description, "http://127.0.0.1:7474");
  await remote.close();
  const cluster = await openStore("etcd://user:secret@etcd-1,etcd-2:2380/cloud/");
  assert.equal(cluster.description, "etcd://etcd-1:2379,etcd-2:2380/cloud");
  await cluster.close();
});

test("any other address is refused with what can be used", async () => {
  for (const url of ["", "natto.db", "redis://x", "FILE:x", "file:"]) {
    assert.match((await rejectsWith(openStore(url), "BadRequest")).message, /file:PATH/, url);
  }
});
