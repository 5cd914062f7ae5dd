import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { temporaryFolder } from "./fixtures.ts";
import { lockFolder, lockFolders, releaseAll } from "./folder-lock.ts";

function locked(pattern: RegExp) {
  return (thrown: unknown): boolean =>
    thrown instanceof NattoError && thrown.code === "Environment" && pattern.test(thrown.message);
}

test("a locked folder cannot be locked again, the error names the holder, and a released one can", async (t) => {
  const folder = await temporaryFolder(t);
  const lock = lockFolder(folder);
  assert.throws(() => lockFolder(folder), locked(new RegExp(`process ${process.pid} works in this folder`)));
  lock.release();
  lockFolder(folder).release();
});

test("a process that is killed leaves no lock behind", async (t) => {
  const folder = await temporaryFolder(t);
  const program = `
    const { lockFolder } = await import(${JSON.stringify(join(import.meta.dirname, "folder-lock.ts"))});
    lockFolder(process.argv[1]);
    process.stdout.write("locked");
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  assert.throws(() => lockFolder(folder), locked(new RegExp(`process ${child.pid} works`)));
  child.kill("SIGKILL");
  await once(child, "exit");
  lockFolder(folder).release();
});

test("of several folders all are locked or none", async (t) => {
  const folder = await temporaryFolder(t);
  const [first, second] = [join(folder, "first"), join(folder, "second")];
  const held = lockFolders([second]);
  assert.throws(() => lockFolders([first, second]), locked(/second: process/));
  releaseAll(held);
  releaseAll(lockFolders([first, second, first]));
});

test("what is no folder is told with what to do", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, "file");
  writeFileSync(file, "");
  assert.throws(() => lockFolders([join(file, "below")]), locked(/give folders that Natto may make/));
  assert.throws(() => lockFolder(file), locked(/make it a folder/));
});
