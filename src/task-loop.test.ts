import assert from "node:assert/strict";
import { test } from "node:test";
import { rejectsWith, until } from "./store/fixtures.ts";
import { startTaskLoop, withDeadline, within } from "./task-loop.ts";

const NEVER_MS = 3_600_000;

test("a task runs at once, and again after the delay that it asked for", async () => {
  let runs = 0;
  const loop = startTaskLoop(async () => {
    runs++;
    return 1;
  });
  await until(() => runs >= 3, "it has run three times");
  await loop.stop();
});

test("kicks during a run make exactly one more run, and none runs beside another", async () => {
  let runs = 0;
  let beside = 0;
  const gate = Promise.withResolvers<void>();
  const loop = startTaskLoop(async () => {
    beside++;
    assert.equal(beside, 1);
    runs++;
    if (runs === 1) await gate.promise;
    beside--;
    return NEVER_MS;
  });
  await until(() => runs === 1, "it runs");
  for (let i = 0; i < 5; i++) loop.kick();
  gate.resolve();
  await until(() => runs === 2, "it runs again");
  await loop.stop();
  assert.equal(runs, 2);
});

test("stop waits for the run that is under way, and nothing runs after it", async () => {
  let runs = 0;
  const gate = Promise.withResolvers<void>();
  const loop = startTaskLoop(async () => {
    runs++;
    await gate.promise;
    return 0;
  });
  await until(() => runs === 1, "it runs");
  let stopped = false;
  const end = loop.stop().then(() => {
    stopped = true;
  });
  loop.kick();
  await new Promise(setImmediate);
  assert.equal(stopped, false);
  gate.resolve();
  await end;
  loop.kick();
  await new Promise(setImmediate);
  assert.equal(runs, 1);
});

test("a promise that takes too long is given up, and one that does not passes on its outcome", async () => {
  const never = new Promise<string>(() => {});
  const error = await rejectsWith(withDeadline(1, never, "nobody answered"), "Unavailable");
  assert.match(error.message, /^nobody answered within 1 ms/);
  assert.equal(await withDeadline(NEVER_MS, Promise.resolve("yes"), "nobody answered"), "yes");
  await within(1, never);
});
