import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cell, rejectsWith } from "./fixtures.ts";
import { openStore } from "./open-store.ts";

test("memory:, file:PATH and http://ADDRESS open the store that they name", async (t) => {
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
});

test("any other address is refused with what can be used", async () => {
  assert.match(
    (await rejectsWith(openStore("etcd://10.0.0.1"), "BadRequest")).message,
    /not available in this version.*use file:PATH/,
  );
  for (const url of ["", "natto.db", "redis://x", "FILE:x", "file:"]) {
    assert.match((await rejectsWith(openStore(url), "BadRequest")).message, /file:PATH/, url);
  }
});
