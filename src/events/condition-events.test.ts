import assert from "node:assert/strict";
import { test } from "node:test";
import { condition } from "../planner/fixtures.ts";
import { conditionEvents } from "./condition-events.ts";

const GATEWAY = { kind: "NatGateway", namespace: "t", name: "g1" };

function told(before: readonly [string, "True" | "False"][], after: readonly [string, "True" | "False"][]) {
  const states = (list: typeof before) => list.map(([type, status]) => condition(type, status));
  return conditionEvents(GATEWAY, states(before), states(after)).map(
    ({ type, reason }) => `${type} ${reason}`,
  );
}

test("What became wrong is a warning, what is well again is told, and what stays as it was is not.", () => {
  assert.deepEqual(told([["PortsLow", "False"]], [["PortsLow", "True"]]), ["Warning PortsLow"]);
  assert.deepEqual(told([["PortsLow", "True"]], [["PortsLow", "True"]]), []);
  assert.deepEqual(told([["PortsLow", "True"]], [["PortsLow", "False"]]), ["Normal PortsLowOver"]);
  assert.deepEqual(told([["Ready", "True"]], [["Ready", "False"]]), ["Warning NotReady"]);
  assert.deepEqual(told([["Ready", "False"]], [["Ready", "True"]]), ["Normal Ready"]);
});

test("Of what is seen for the first time only trouble is told.", () => {
  const states = [["Ready", "True"] as const, ["Accepted", "False"] as const, ["PortsLow", "False"] as const];
  assert.deepEqual(
    told(
      [],
      states.map(([type, status]) => [type, status]),
    ),
    ["Warning NotAccepted"],
  );
});

test("A condition that is on its way is no event, nor is its arrival.", () => {
  const was = { ...condition("ConfigApplied", "False"), reason: "Pending" };
  assert.deepEqual(conditionEvents(GATEWAY, [condition("ConfigApplied", "True")], [was]), []);
  assert.deepEqual(conditionEvents(GATEWAY, [was], [condition("ConfigApplied", "True")]), []);
});

test("Trouble that turns into another trouble is told with what it is now.", () => {
  const nearly = { ...condition("SessionPressure", "True"), reason: "TableNearlyFull", message: "80 %" };
  const full = { ...nearly, reason: "TableFull", message: "100 %" };
  const [event] = conditionEvents(GATEWAY, [nearly], [full]);
  assert.equal(event?.note, "TableFull: 100 %");
});
