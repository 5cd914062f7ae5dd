import assert from "node:assert/strict";
import { test } from "node:test";
import { healthChecks } from "./health-checks.ts";

function condition(type: string, status: "True" | "False" | "Unknown", reason: string) {
  return { type, status, reason, message: "words" };
}

function states(...conditions: ReturnType<typeof condition>[]): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(healthChecks(conditions).map(({ name, state }) => [name, state]));
}

const READY = condition("Ready", "True", "Programmed");
const APPLIED = condition("ConfigApplied", "True", "Applied");

test("a node that is programmed with what is declared passes", () => {
  assert.deepEqual(states(READY, APPLIED), { dataplane: "passing", config: "passing" });
  const [dataplane] = healthChecks([READY, APPLIED]);
  assert.equal(dataplane?.output, "Programmed: words");
});

test("a node that does not forward is critical", () => {
  assert.equal(states(condition("Ready", "False", "DataplaneFailed"), APPLIED).dataplane, "critical");
});

test("a configuration that is doubted or cannot be applied is a warning, one that is being applied is none", () => {
  const failed = condition("ConfigApplied", "False", "DataplaneFailed");
  assert.equal(states(READY, failed).config, "warning");
  assert.equal(states(READY, APPLIED, condition("ConfigDoubted", "True", "Emptied")).config, "warning");
  assert.equal(states(READY, condition("ConfigApplied", "False", "Pending")).config, "passing");
});

test("a BGP session that is down is a warning; where the node speaks no BGP there is no such check", () => {
  const silent = states(READY, APPLIED, condition("SessionsUp", "False", "NotDeclared"));
  assert.deepEqual(silent, { dataplane: "passing", config: "passing" });
  assert.equal(states(READY, APPLIED, condition("SessionsUp", "False", "SessionDown")).routing, "warning");
  assert.equal(states(READY, APPLIED, condition("SessionsUp", "True", "Established")).routing, "passing");
});

test("what is not known yet has no state", () => {
  assert.deepEqual(states(), { dataplane: undefined, config: undefined });
});
