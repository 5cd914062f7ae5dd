import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { cellRoutingSchema, nodeRoutingSchema, resolveRouting } from "../model/routing.ts";
import { type Announcements, announcementsOf, NOTHING } from "../routing/announcements.ts";
import type { SessionReport } from "../routing/router.ts";
import { UNREADY_AFTER_MS } from "./dataplane-health.ts";
import { nodeConfig } from "./fixtures.ts";
import type { NotedReport, RoutingState } from "./routing-state.ts";
import { ANNOUNCED, judgeFabric, judgeRouting, routingStatus, SESSIONS_UP } from "./routing-status.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const CELL = cellRoutingSchema.parse({
  driver: "bird",
  localAs: 64600,
  sessions: [{ name: "in", side: "inside", peerAs: 64512 }],
});
const ROUTING = resolveRouting(CELL, undefined);
assert(ROUTING);
const { spec: SPEC } = nodeConfig(1, { routing: ROUTING });
const UP: SessionReport = {
  name: "in",
  side: "inside",
  peer: "192.0.2.0",
  peerAs: 64512,
  up: true,
  state: "Established",
  message: "in: Established",
};
const DOWN = { ...UP, up: false, state: "Active", message: "in: Active, refused; check" };
const found = (announced: Announcements, ...sessions: readonly SessionReport[]): NotedReport => ({
  announced,
  sessions,
  notedAt: new Map(),
});
const WANTED = announcementsOf(SPEC);
const GOOD: RoutingState = {
  spec: SPEC,
  wanted: WANTED,
  withheld: undefined,
  report: found(WANTED, UP),
  down: {},
  failure: undefined,
};

/** `status reason` of a condition, and its message. */
function told(routing: RoutingState, type: string): readonly [string, string] | undefined {
  const finding = judgeRouting(routing).find(([name]) => name === type)?.[1];
  return finding && [`${finding.status} ${finding.reason}`, finding.message];
}

test("what is announced is told, and what should be and is not, with the reason", () => {
  assert.deepEqual(told(GOOD, ANNOUNCED), ["True Announced", "2 prefixes inside, 1 outside"]);
  const partly = { ...GOOD, report: found({ ...WANTED, outside: [] }, UP) };
  assert.match(
    told(partly, ANNOUNCED)?.join() ?? "",
    /^False Partly,198\.51\.100\.0\/32 outside is announced to nobody/,
  );
  const none = { ...GOOD, report: found(NOTHING, DOWN) };
  assert.match(
    told(none, ANNOUNCED)?.join() ?? "",
    /^False NotAnnounced,no router is told of 0\.0\.0\.0\/0 inside/,
  );
  assert.match(
    told({ ...GOOD, withheld: "no program" }, ANNOUNCED)?.join() ?? "",
    /^False Withheld,.*no program/,
  );
  const failure = { error: new NattoError("Environment", "cannot run bird"), since: NOW };
  assert.deepEqual(told({ ...GOOD, failure }, ANNOUNCED), ["False RoutingFailed", "cannot run bird"]);
});

test("a node that is to announce nothing says by whose will", () => {
  const undeclared = { ...GOOD, spec: nodeConfig(1).spec };
  assert.equal(told(undeclared, ANNOUNCED)?.[0], "False NotDeclared");
  assert.equal(told(undeclared, SESSIONS_UP)?.[0], "False NotDeclared");
  const routing = resolveRouting(CELL, nodeRoutingSchema.parse({ announce: false }));
  const silent = { ...GOOD, spec: { ...SPEC, ...(routing ? { routing } : {}) } };
  assert.match(told(silent, ANNOUNCED)?.join() ?? "", /^False NotWanted,spec\.routing\.announce .* is false/);
});

test("sessions that are down are told one by one, and so are faults of the declaration", () => {
  assert.deepEqual(told(GOOD, SESSIONS_UP), ["True Established", "1 of 1 sessions are up"]);
  const down = { ...GOOD, report: found(NOTHING, DOWN, { ...UP, name: "in-2" }) };
  assert.deepEqual(told(down, SESSIONS_UP), [
    "False SessionDown",
    "1 of 2 sessions are up; in: Active, refused; check",
  ]);
  const problems = ["session x lacks side"];
  const faulty = { ...GOOD, spec: { ...SPEC, routing: { ...ROUTING, problems } } };
  assert.equal(told(faulty, SESSIONS_UP)?.[1], "1 of 1 sessions are up; session x lacks side");
});

test("a node that the fabric does not reach on a side is not ready, after a moment if it was reached before", () => {
  assert.equal(judgeFabric(undefined, true, NOW), "connected");
  assert.equal(judgeFabric({ ...GOOD, spec: nodeConfig(1).spec }, true, NOW), "connected");
  assert.equal(judgeFabric(GOOD, true, NOW), "connected");
  const report = found(NOTHING, DOWN);
  const lost = (since: number, wasUp: boolean): RoutingState => {
    return { ...GOOD, report, down: { inside: { since, wasUp } } };
  };
  assert.equal(judgeFabric(lost(NOW - UNREADY_AFTER_MS + 1, true), false, NOW), "connected");
  const finding = judgeFabric(lost(NOW - UNREADY_AFTER_MS, true), false, NOW);
  assert.deepEqual(finding, {
    status: "False",
    reason: "FabricLost",
    message: "since 2026-11-24T11:59:57.000Z no BGP session inside is up: in: Active, refused; check",
  });
  const never = judgeFabric(lost(NOW, false), true, NOW);
  assert(typeof never === "object" && never.reason === "FabricLost");
});

test("before anything is known, a node that was rebooted is not ready, and one whose agent was restarted stays as it was", () => {
  const unknown = { ...GOOD, report: undefined };
  const rebooted = judgeFabric(unknown, true, NOW);
  assert(typeof rebooted === "object" && rebooted.reason === "Starting");
  assert.equal(judgeFabric(unknown, false, NOW), undefined);
  const earlier = { announced: { inside: [], outside: ["198.51.100.0/32"], omitted: 0 }, sessions: [] };
  assert.deepEqual(routingStatus(unknown, earlier), { routing: earlier });
  assert.deepEqual(routingStatus({ ...GOOD, spec: nodeConfig(1).spec }, earlier), {});
  assert.deepEqual(routingStatus(GOOD, earlier).routing?.announced, { ...WANTED, omitted: 0 });
});

test("the status shows the first of many prefixes, and how many more there are", () => {
  const outside = Array.from({ length: 250 }, (_, i) => `203.0.113.${i}/32`);
  const shown = routingStatus({ ...GOOD, report: found({ inside: [], outside }, UP) }, undefined).routing;
  assert.deepEqual([shown?.announced.outside.length, shown?.announced.omitted], [100, 150]);
});
