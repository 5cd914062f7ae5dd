import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTime, portHistory } from "./session-history.ts";
import type { LoggedEvent, SessionLine } from "./session-line.ts";

const PORT = "203.0.113.10:2345";

function line(minute: number, event: "begin" | "end", change: Partial<LoggedEvent> = {}): SessionLine {
  return {
    ...{ time: timeOf(minute), event, node: "node-a", gateway: "team-a/web", protocol: "udp" },
    ...{ inside: "10.0.0.11:5000", public: PORT, remote: "198.51.100.7:53" },
    ...change,
  };
}

const timeOf = (minute: number) => `2026-11-24T03:${String(minute).padStart(2, "0")}:00.000Z`;

async function* written(lines: readonly (SessionLine | string)[]): AsyncGenerator<string> {
  for (const one of lines) yield typeof one === "string" ? one : JSON.stringify(one);
}

const holders = async (lines: readonly (SessionLine | string)[], minute: number) =>
  (await portHistory(written(lines), PORT, Date.parse(timeOf(minute)))).sessions.map(
    ({ inside, from, until }) => [inside, from, until],
  );

const HISTORY = [
  line(1, "begin"),
  line(2, "begin", { public: "203.0.113.10:2346", inside: "10.0.0.99:1" }),
  line(5, "end"),
  line(9, "begin", { inside: "10.0.0.12:5001" }),
];

test("a port's holder is who had begun and not ended at the time", async () => {
  assert.deepEqual(await holders(HISTORY, 0), []);
  assert.deepEqual(await holders(HISTORY, 3), [["10.0.0.11:5000", timeOf(1), timeOf(5)]]);
  assert.deepEqual(await holders(HISTORY, 7), []);
  assert.deepEqual(await holders(HISTORY, 30), [["10.0.0.12:5001", timeOf(9), undefined]]);
});

test("sessions with several remotes are told one by one, and one that begins again counts from then on", async () => {
  const lines = [
    line(1, "begin"),
    line(2, "begin", { remote: "198.51.100.8:53" }),
    line(3, "end"),
    line(4, "begin"),
  ];
  assert.deepEqual(await holders(lines, 5), [
    ["10.0.0.11:5000", timeOf(2), undefined],
    ["10.0.0.11:5000", timeOf(4), undefined],
  ]);
});

test("lines that were lost before the time, and lines that are none, are counted", async () => {
  const lost = (minute: number, count: number): SessionLine => {
    return { time: timeOf(minute), event: "lost", node: "node-a", count };
  };
  const lines = [line(1, "begin"), lost(2, 40), "half a li", '{"event":"begin"}', "", lost(9, 7)];
  const history = await portHistory(written(lines), PORT, Date.parse(timeOf(5)));
  assert.deepEqual([history.lost, history.unreadable, history.sessions.length], [40, 2, 1]);
});

test("a time is a date and a time of day", () => {
  assert.equal(parseTime("2026-11-24T03:12:00Z"), Date.UTC(2026, 10, 24, 3, 12));
  for (const text of ["yesterday", "2026-11-24", "03:12"]) assert.throws(() => parseTime(text), /--at/);
});
