import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { rejectsWith } from "../store/fixtures.ts";
import { nodeConfig, temporaryFolder } from "./fixtures.ts";
import {
  decodeSnapshot,
  encodeSnapshot,
  isSnapshotFile,
  readSnapshot,
  SNAPSHOT_FILE,
  writeSnapshot,
} from "./snapshot.ts";

const NOW = Date.parse("2026-11-24T10:00:00Z");

test("what was written is read again", async (t) => {
  const folder = await temporaryFolder(t);
  const config = nodeConfig(3);
  await writeSnapshot(folder, config);
  assert.deepEqual(await readSnapshot(folder, "a", NOW), { found: "good", config });
  assert.deepEqual(await readdir(folder), [SNAPSHOT_FILE]);
});

test("a snapshot with any byte changed is refused", () => {
  const bytes = encodeSnapshot(nodeConfig(1));
  for (let i = 0; i < bytes.length; i++) {
    for (const flip of [0x01, 0x20, 0x80]) {
      const damaged = Buffer.from(bytes);
      damaged[i] = damaged[i]! ^ flip;
      assert.equal(decodeSnapshot(damaged, "a").ok, false, `byte ${i} changed by ${flip} was not noticed`);
    }
  }
});

test("a snapshot that was cut at any place or has something added is refused", () => {
  const bytes = encodeSnapshot(nodeConfig(1));
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(decodeSnapshot(bytes.subarray(0, length), "a").ok, false, `cut at ${length}`);
  }
  assert.equal(decodeSnapshot(Buffer.concat([bytes, Buffer.from("\n")]), "a").ok, false);
});

test("random bytes are refused and never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.equal(decodeSnapshot(Buffer.from(bytes), "a").ok, false);
    }),
  );
});

test("a refused snapshot is moved aside, whole, and the message says where and why", async (t) => {
  const folder = await temporaryFolder(t);
  const damaged = encodeSnapshot(nodeConfig(1));
  damaged[damaged.length - 5] = 0x23;
  await writeFile(join(folder, SNAPSHOT_FILE), damaged);
  const read = await readSnapshot(folder, "a", NOW);
  assert.ok(read.found === "refused");
  assert.equal(read.reason, "Corrupt");
  const [kept, ...others] = await readdir(folder);
  assert.deepEqual(others, []);
  assert.ok(kept && read.message.includes(join(folder, kept)), read.message);
  assert.deepEqual(await readFile(join(folder, kept)), damaged);
  assert.ok(isSnapshotFile(kept));
  assert.deepEqual(await readSnapshot(folder, "a", NOW), { found: "nothing" });
});

test("another node's snapshot and one of a later version are refused with a reason of their own", () => {
  const bytes = encodeSnapshot(nodeConfig(1));
  const other = decodeSnapshot(bytes, "z");
  assert.ok(!other.ok && other.reason === "OtherNode" && other.message.includes("node a"));
  const text = bytes.toString().replace("natto-snapshot 1 ", "natto-snapshot 2 ");
  const later = decodeSnapshot(Buffer.from(text), "a");
  assert.ok(!later.ok && later.reason === "OtherVersion" && later.message.includes("version 2"));
});

test("a snapshot that cannot be read is told, not thrown", async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, SNAPSHOT_FILE));
  const read = await readSnapshot(folder, "a", NOW);
  assert.ok(read.found === "refused" && read.reason === "Unreadable");
});

test("a write that fails leaves the earlier snapshot as it was", async (t) => {
  const folder = await temporaryFolder(t);
  const earlier = nodeConfig(1);
  await writeSnapshot(folder, earlier);
  await mkdir(join(folder, `${SNAPSHOT_FILE}.tmp`));
  const error = await rejectsWith(writeSnapshot(folder, nodeConfig(2)), "Environment");
  assert.ok(error.message.includes(folder));
  await rm(join(folder, `${SNAPSHOT_FILE}.tmp`), { recursive: true });
  assert.deepEqual(await readSnapshot(folder, "a", NOW), { found: "good", config: earlier });
});
