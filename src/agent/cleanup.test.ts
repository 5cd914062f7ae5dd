import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rejectsWith } from "../store/fixtures.ts";
import { cleanupAgent } from "./cleanup.ts";
import { nodeConfig, temporaryFolder } from "./fixtures.ts";
import { lockFolders, releaseAll } from "./folder-lock.ts";
import { readSnapshot, SNAPSHOT_FILE, writeSnapshot } from "./snapshot.ts";

const cleanupRouting = async (): Promise<string[]> => [];
const cleanupDataplane = async (): Promise<string[]> => ["map slots"];

test("clean-up removes the snapshot, the refused ones and the empty folders, and says so", async (t) => {
  const folder = await temporaryFolder(t);
  const [pinFolder, stateFolder] = [join(folder, "pins"), join(folder, "state")];
  mkdirSync(pinFolder);
  mkdirSync(stateFolder);
  writeFileSync(join(stateFolder, SNAPSHOT_FILE), "damaged");
  await readSnapshot(stateFolder, "a", 0);
  await writeSnapshot(stateFolder, nodeConfig(1));
  const removed = await cleanupAgent({ pinFolder, stateFolder, cleanupRouting, cleanupDataplane });
  assert.equal(removed[0], "map slots");
  assert.equal(removed.filter((line) => line.startsWith("snapshot ")).length, 2);
  assert.deepEqual(removed.slice(3), [`folder ${stateFolder}`, `folder ${pinFolder}`]);
  assert.equal(existsSync(stateFolder) || existsSync(pinFolder), false);
  const again = await cleanupAgent({
    pinFolder,
    stateFolder,
    cleanupRouting,
    cleanupDataplane: async () => [],
  });
  assert.deepEqual(again, []);
});

test("clean-up leaves what is not Natto's", async (t) => {
  const folder = await temporaryFolder(t);
  const foreign = join(folder, "notes.txt");
  writeFileSync(foreign, "keep");
  await cleanupAgent({
    pinFolder: join(folder, "none"),
    stateFolder: folder,
    cleanupRouting,
    cleanupDataplane,
  });
  assert.ok(existsSync(foreign));
});

test("clean-up refuses to work while an agent does", async (t) => {
  const folder = await temporaryFolder(t);
  const locks = lockFolders([folder]);
  const options = { pinFolder: folder, stateFolder: folder, cleanupRouting, cleanupDataplane };
  const error = await rejectsWith(cleanupAgent(options), "Environment");
  assert.match(error.message, /stop that agent first/);
  releaseAll(locks);
});
