import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import type { Condition } from "../model/meta.ts";
import { STUCK_AFTER_MS, UNREADY_AFTER_MS } from "./dataplane-health.ts";
import { nodeConfig } from "./fixtures.ts";
import type { ConfigState } from "./held-config.ts";
import { type NodeStatus, nodeStatus, type Observation, RECENT_MS, statusDifference } from "./node-status.ts";
import { attemptFailed, attemptSucceeded, UNPROGRAMMED, type WantedConfig } from "./reconciler.ts";
import { NO_CONTACT, storeAnswered, storeFailed } from "./store-contact.ts";

const START = Date.parse("2026-11-24T10:00:00Z");
const WANTED: WantedConfig = { generation: 4, digest: "d4", spec: nodeConfig(1).spec };
const FAULT = new NattoError("Environment", "interface in0 is missing; create it");
const NO_CONFIG: ConfigState = {
  held: undefined,
  asked: false,
  doubt: undefined,
  snapshot: { state: "none", refused: undefined },
};
const STARTING: Observation = {
  version: "0.1.0",
  startedAt: START,
  fresh: false,
  stopping: false,
  generation: 2,
  config: NO_CONFIG,
  dataplane: UNPROGRAMMED,
  measured: undefined,
  store: storeAnswered(NO_CONTACT, START),
};
const APPLIED = attemptSucceeded({ ...UNPROGRAMMED, wanted: WANTED }, WANTED, [], START);
const RUNNING: Observation = { ...STARTING, config: { ...NO_CONFIG, asked: true }, dataplane: APPLIED };

function condition(status: NodeStatus, type: string): Condition | undefined {
  return status.conditions.find((c) => c.type === type);
}

/** `status reason` of a condition, or undefined when there is none. */
function told(seen: Observation, type: string, now = START, earlier?: NodeStatus): string | undefined {
  const found = condition(nodeStatus(seen, earlier, now), type);
  return found && `${found.status} ${found.reason}`;
}

test("a running node tells what it runs and that it is ready", () => {
  const measured = { counters: { translated_out: 5 }, sessions: { used: 1, capacity: 10 } };
  const status = nodeStatus({ ...RUNNING, measured }, undefined, START + 5000);
  assert.deepEqual(status.applied, { generation: 4, digest: "d4", at: "2026-11-24T10:00:00.000Z" });
  assert.deepEqual(status.sessions, measured.sessions);
  assert.deepEqual(status.counters, measured.counters);
  assert.deepEqual(status.agent, { version: "0.1.0", startedAt: "2026-11-24T10:00:00.000Z" });
  assert.equal(status.observedGeneration, 2);
  const summary = status.conditions.map((c) => `${c.type}=${c.status}`).join(" ");
  assert.equal(
    summary,
    "AgentRunning=True ConfigApplied=True ConfigDoubted=False Ready=True Repaired=False SessionPressure=False StoreReachable=True",
  );
});

test("an agent that has just started leaves Ready and what was applied as they were", () => {
  const earlier = nodeStatus(RUNNING, undefined, START);
  for (const dataplane of [UNPROGRAMMED, { ...UNPROGRAMMED, wanted: WANTED }]) {
    const status = nodeStatus({ ...STARTING, dataplane }, earlier, START + 60_000);
    assert.deepEqual(condition(status, "Ready"), condition(earlier, "Ready"));
    assert.deepEqual(condition(status, "ConfigApplied"), condition(earlier, "ConfigApplied"));
    assert.deepEqual(status.applied, earlier.applied);
  }
  assert.equal(told(STARTING, "Ready"), undefined);
});

test("a node whose machine was rebooted is not ready until it is programmed, whatever it reported before", () => {
  const earlier = nodeStatus(RUNNING, undefined, START);
  const rebooted = { ...STARTING, fresh: true };
  assert.equal(told(rebooted, "Ready", START, earlier), "False Starting");
  const wanted = { ...rebooted, dataplane: { ...UNPROGRAMMED, wanted: WANTED } };
  assert.equal(told(wanted, "Ready", START, earlier), "False Starting");
  assert.equal(told({ ...wanted, dataplane: APPLIED }, "Ready", START, earlier), "True Programmed");
});

test("a node without any configuration is not ready once the store has said so", () => {
  const asked = { ...STARTING, config: { ...NO_CONFIG, asked: true } };
  assert.equal(told(asked, "Ready"), "False NoConfig");
  assert.equal(told(asked, "ConfigApplied"), "False NoConfig");
});

test("a dataplane that never worked makes a node not ready at once, one that did only after a while", () => {
  const never = attemptFailed({ ...UNPROGRAMMED, wanted: WANTED }, FAULT, START);
  assert.equal(told({ ...RUNNING, dataplane: never }, "Ready"), "False DataplaneFailed");
  const lately = { ...RUNNING, dataplane: attemptFailed(APPLIED, FAULT, START) };
  assert.equal(told(lately, "Ready", START + UNREADY_AFTER_MS - 1), "True Programmed");
  assert.equal(told(lately, "ConfigApplied"), "False DataplaneFailed");
  assert.equal(told(lately, "Ready", START + UNREADY_AFTER_MS), "False DataplaneFailed");
  const status = nodeStatus(lately, undefined, START + UNREADY_AFTER_MS);
  assert.match(condition(status, "Ready")?.message ?? "", /interface in0 is missing; create it/);
});

test("an attempt that does not come back makes a node not ready", () => {
  const seen = { ...RUNNING, dataplane: { ...APPLIED, attemptSince: START } };
  assert.equal(told(seen, "Ready", START + STUCK_AFTER_MS), "True Programmed");
  assert.equal(told(seen, "Ready", START + STUCK_AFTER_MS + 1), "False DataplaneStuck");
});

test("a configuration that is not applied yet is pending while the earlier one runs", () => {
  const seen = { ...RUNNING, dataplane: { ...APPLIED, wanted: { ...WANTED, generation: 5, digest: "d5" } } };
  assert.equal(told(seen, "ConfigApplied"), "False Pending");
  assert.equal(told(seen, "Ready"), "True Programmed");
});

test("a repair is shown for ten minutes, and remembered after that", () => {
  const repairs = [{ what: "attach", detail: "in0: program was detached" }] as const;
  const seen = { ...RUNNING, dataplane: attemptSucceeded(APPLIED, WANTED, repairs, START) };
  assert.equal(told(seen, "Repaired", START + RECENT_MS - 1), "True Drift");
  assert.equal(told(seen, "Repaired", START + RECENT_MS), "False NoRecentDrift");
  const { message } = condition(nodeStatus(seen, undefined, START + RECENT_MS), "Repaired") ?? {
    message: "",
  };
  assert.match(message, /2026-11-24T10:00:00\.000Z: attach: in0: program was detached \(1 since/);
});

test("doubt is told with its reason and since when", () => {
  const doubt = { reason: "Deleted", message: "NodeConfig a is gone", since: START } as const;
  const seen = { ...RUNNING, config: { ...RUNNING.config, doubt } };
  assert.equal(told(seen, "ConfigDoubted"), "True Deleted");
  const { message } = condition(nodeStatus(seen, undefined, START), "ConfigDoubted") ?? { message: "" };
  assert.match(message, /^since 2026-11-24T10:00:00\.000Z: NodeConfig a is gone$/);
});

test("a snapshot that was refused or not saved is told, and the refusal is remembered after the next save", () => {
  const of = (snapshot: ConfigState["snapshot"]) => ({ ...RUNNING, config: { ...RUNNING.config, snapshot } });
  assert.equal(told(of({ state: "none", refused: undefined }), "SnapshotGood"), undefined);
  assert.equal(
    told(of({ state: "none", refused: "its checksum is wrong" }), "SnapshotGood"),
    "False Refused",
  );
  const full = of({ state: "unsaved", refused: undefined, message: "no space" });
  assert.equal(told(full, "SnapshotGood"), "False NotSaved");
  const saved = nodeStatus(of({ state: "saved", refused: "its checksum is wrong" }), undefined, START);
  assert.match(condition(saved, "SnapshotGood")?.message ?? "", /its checksum is wrong/);
});

test("an outage of the store is told afterwards, for ten minutes", () => {
  const lost = storeFailed(STARTING.store, new NattoError("Unavailable", "connection refused"), START);
  assert.equal(told({ ...RUNNING, store: lost }, "StoreReachable"), "False Unreachable");
  const back = { ...RUNNING, store: storeAnswered(lost, START + 37_000) };
  assert.equal(told(back, "StoreReachable", START + 37_000), "True ReachableAgain");
  const { message } = condition(nodeStatus(back, undefined, START + 37_000), "StoreReachable") ?? {
    message: "",
  };
  assert.match(message, /unreachable for 37 s until .*: connection refused/);
  assert.equal(told(back, "StoreReachable", START + 37_000 + RECENT_MS), "True Reachable");
});

test("an error that is an answer is no outage", () => {
  const answered = storeFailed(NO_CONTACT, new NattoError("Rejected", "no"), START);
  assert.deepEqual(answered, { reachable: true, outage: undefined });
});

test("a stopped agent says so and leaves the node ready", () => {
  const stopped = { ...RUNNING, stopping: true };
  assert.equal(told(stopped, "AgentRunning"), "False Stopped");
  assert.equal(told(stopped, "Ready"), "True Programmed");
});

test("the same observation later gives the same status, and counters alone are traffic", () => {
  const measured = { counters: { translated_out: 5 }, sessions: { used: 1, capacity: 10 } };
  const stored = nodeStatus({ ...RUNNING, measured }, undefined, START);
  const later = nodeStatus({ ...RUNNING, measured }, stored, START + 8000);
  assert.equal(statusDifference(stored, later), "none");
  const busier = { ...measured, counters: { translated_out: 6 } };
  assert.equal(
    statusDifference(stored, nodeStatus({ ...RUNNING, measured: busier }, stored, START)),
    "traffic",
  );
  assert.equal(statusDifference(stored, nodeStatus({ ...RUNNING, stopping: true }, stored, START)), "more");
  assert.equal(statusDifference(undefined, stored), "more");
});

test("a session table that fills is a condition of the node, before new flows are refused and while they are", () => {
  const pressure = (used: number) =>
    condition(
      nodeStatus(
        { ...RUNNING, measured: { counters: {}, sessions: { used, capacity: 100 } } },
        undefined,
        START,
      ),
      "SessionPressure",
    );
  const told = (used: number) => `${pressure(used)?.status} ${pressure(used)?.reason}`;
  assert.deepEqual([79, 80, 99, 100].map(told), [
    "False EnoughRoom",
    "True TableNearlyFull",
    "True TableNearlyFull",
    "True TableFull",
  ]);
  assert.match(pressure(100)?.message ?? "", /new flows are refused .* --max-sessions/);
  assert.equal(condition(nodeStatus(RUNNING, undefined, START), "SessionPressure"), undefined);
});
