import assert from "node:assert/strict";
import { test } from "node:test";
import { humanLine } from "./logger.ts";

test("a log line for people has time of day, level, message and fields", () => {
  const line = JSON.stringify({
    level: 30,
    time: "2026-11-24T03:12:07.123Z",
    url: "u",
    nodes: [1],
    msg: "ready",
  });
  assert.equal(humanLine(line), "03:12:07 INFO  ready url=u nodes=[1]");
});
