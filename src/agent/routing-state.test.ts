import assert from "node:assert/strict";
import { test } from "node:test";
import { NOTHING } from "../routing/announcements.ts";
import type { RouterReport, SessionReport } from "../routing/router.ts";
import { sidesDown, steadyReport } from "./routing-state.ts";

const SESSION: SessionReport = {
  name: "in",
  side: "inside",
  peer: "192.0.2.0",
  peerAs: 64512,
  up: true,
  state: "Established",
  message: "",
};
const DOWN = { ...SESSION, up: false, state: "Active", message: "refused" };
const report = (...sessions: readonly SessionReport[]): RouterReport => ({ announced: NOTHING, sessions });

test("a side is down when it has sessions and none is up, since when that was seen first", () => {
  const out = { ...SESSION, name: "out", side: "outside" } as const;
  const up = steadyReport(undefined, report(SESSION, out), 10);
  assert.deepEqual(sidesDown({ report: undefined, down: {} }, up, 10), {});
  const lost = report(DOWN, out);
  const down = sidesDown({ report: up, down: {} }, lost, 20);
  assert.deepEqual(down, { inside: { since: 20, wasUp: true } });
  assert.deepEqual(sidesDown({ report: up, down }, lost, 30), down);
  assert.deepEqual(sidesDown({ report: undefined, down: {} }, report(DOWN, out), 5), {
    inside: { since: 5, wasUp: false },
  });
  const both = { ...SESSION, name: "tor", side: "both" } as const;
  assert.deepEqual(sidesDown({ report: up, down }, report(DOWN, both), 40), {});
});

test("the account of a session that stays down changes at most every few seconds; that it came up is told at once", () => {
  const first = steadyReport(undefined, report(DOWN), 0);
  const other = { ...DOWN, state: "Connect", message: "reset" };
  const second = steadyReport(first, report(other), 4999);
  assert.equal(second.sessions[0]?.message, "refused");
  assert.equal(steadyReport(second, report(other), 5000).sessions[0]?.message, "reset");
  assert.equal(steadyReport(second, report(SESSION), 5000).sessions[0]?.up, true);
  const changed = { ...other, peerAs: 1 };
  assert.equal(steadyReport(second, report(changed), 4999).sessions[0]?.message, "reset");
});
