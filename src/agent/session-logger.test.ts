import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { SessionEvent } from "../dataplane/session-log.ts";
import { nodeConfig } from "../model/fixtures.ts";
import { type SessionLine, sessionLineSchema } from "../sight/session-line.ts";
import { recordLogs } from "./fixtures.ts";
import { startSessionLogger } from "./session-logger.ts";

const { spec } = nodeConfig(1);
const EPOCH = Date.UTC(2026, 10, 24, 3, 12);

function event(port: number, age = 0): SessionEvent {
  return {
    ...{ event: "begin", age, protocol: "udp", inside: { address: "10.0.0.5", port } },
    ...{ public: { address: "198.51.100.0", port: 4000 }, remote: { address: "192.0.2.9", port: 53 } },
  };
}

/** A logger that is asked to look by the test. */
function logging(t: TestContext, linesPerSecond = 100) {
  let waiting: readonly SessionEvent[] = [];
  let lost = 7;
  let now = EPOCH;
  let takes = true;
  let text = "";
  let due: () => void = () => assert.fail("nothing is planned");
  const clock = {
    now: () => now,
    elapsed: () => now,
    after: (_ms: number, action: () => void) => {
      due = action;
      return () => {};
    },
  };
  const started = startSessionLogger({
    events: {
      read: () => {
        const found = waiting;
        waiting = [];
        return found;
      },
      close: () => {},
    },
    ...{ lostInKernel: () => lost, node: "a", config: () => spec, linesPerSecond, clock },
    write: (more) => {
      if (takes) text += more;
      return takes;
    },
    logger: recordLogs().logger,
  });
  t.after(() => started.stop());
  return async (change: {
    events?: readonly SessionEvent[];
    lost?: number;
    takes?: boolean;
    passed?: number;
  }): Promise<SessionLine[]> => {
    waiting = change.events ?? [];
    lost = change.lost ?? lost;
    takes = change.takes ?? takes;
    now += change.passed ?? 0;
    text = "";
    due();
    await new Promise(setImmediate);
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.map((line) => sessionLineSchema.parse(JSON.parse(line)));
  };
}

test("a session's beginning is a line with its time, gateway and ends", async (t) => {
  const look = logging(t);
  const [line, ...others] = await look({ events: [event(5000, 1.5)] });
  assert.equal(others.length, 0);
  assert.deepEqual(line, {
    ...{ time: "2026-11-24T03:11:58.500Z", event: "begin", node: "a", gateway: "team/gw-0", protocol: "udp" },
    ...{ inside: "10.0.0.5:5000", public: "198.51.100.0:4000", remote: "192.0.2.9:53" },
  });
  assert.deepEqual(await look({}), []);
});

const lostIn = (lines: readonly SessionLine[]) =>
  lines.reduce((sum, line) => sum + (line.event === "lost" ? line.count : 0), 0);

test("beyond the limit of a second lines are lost, counted, and said to be", async (t) => {
  const look = logging(t, 2);
  const lines = await look({ events: [event(1), event(2), event(3)] });
  assert.deepEqual([lines.length, lostIn(lines)], [3, 1]);
  assert.equal(lostIn(await look({ events: [event(4)] })), 1);
  assert.deepEqual(lostIn(await look({ events: [event(5)], passed: 1000 })), 0);
});

test("what the kernel had no room for is lost too, but not what was lost before the agent's start", async (t) => {
  const look = logging(t);
  assert.equal(lostIn(await look({ events: [event(1)] })), 0);
  assert.equal(lostIn(await look({ lost: 12 })), 5);
});

test("while nothing can be written lines are lost, and that is said as soon as it can", async (t) => {
  const look = logging(t);
  assert.deepEqual(await look({ events: [event(1), event(2)], takes: false }), []);
  const lines = await look({ events: [event(3)], takes: true });
  assert.deepEqual([lines.length, lostIn(lines)], [2, 2]);
});
