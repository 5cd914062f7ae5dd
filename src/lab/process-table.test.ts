import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { endProcesses, identify, identifyChild, isAlive, signalProcess } from "./process-table.ts";

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

test("A child that has ended is nobody, but is known as long as its parent has not asked for it.", async () => {
  const child = spawn("true", { stdio: "ignore" });
  const exit = once(child, "exit");
  const pid = child.pid ?? 0;
  const deadline = performance.now() + 10_000;
  // The event loop does not turn here, so that nobody asks how the child ended.
  while (identify(pid)) assert(performance.now() < deadline, "the child does not end");
  const id = identifyChild(pid);
  assert(id);
  assert.equal(isAlive(id), false);
  await exit;
  assert.equal(identifyChild(pid), undefined);
});
