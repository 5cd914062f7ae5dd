import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { endProcesses, identify, isAlive, signalProcess } from "./process-table.ts";

test("A pid that another process has by now is not the same process, and is not signalled.", () => {
  const own = identify(process.pid);
  assert(own);
  const former = { pid: own.pid, startTime: "1" };
  assert.equal(isAlive(own), true);
  assert.equal(isAlive(former), false);
  assert.equal(signalProcess(former, "SIGKILL"), false);
});

test("A process that ignores TERM is killed.", async () => {
  const child = spawn("sh", ["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exit = once(child, "exit");
  await once(child.stdout, "data");
  const id = identify(child.pid ?? 0);
  assert(id);
  assert.deepEqual(await endProcesses(() => (isAlive(id) ? [id] : []), 50), []);
  assert.deepEqual(await exit, [null, "SIGKILL"]);
});

test("A process that has ended is nobody, also while its parent has not asked for it.", async () => {
  const child = spawn("sh", ["-c", "sleep 0 & exec sh -c 'read line'"], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  const id = identify(child.pid ?? 0);
  assert(id);
  child.stdin.end();
  await once(child, "exit");
  assert.equal(isAlive(id), false);
});
