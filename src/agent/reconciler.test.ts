import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Repair } from "../dataplane/dataplane.ts";
import { NattoError } from "../errors.ts";
import { until } from "../store/fixtures.ts";
import { nodeConfig, recordingDataplane, recordLogs } from "./fixtures.ts";
import { configDigest } from "./node-config-check.ts";
import {
  attemptFailed,
  attemptSucceeded,
  type DataplaneState,
  describeRepairs,
  startReconciler,
  UNPROGRAMMED,
  type WantedConfig,
} from "./reconciler.ts";

const REPAIR: Repair = { what: "map", detail: "slots: 3 entries" };
const FAULT = new NattoError("Environment", "interface in0 is missing; create it");

function wanted(generation: number, gateways = generation): WantedConfig {
  const { spec } = nodeConfig(gateways);
  return { generation, digest: configDigest(spec), spec };
}

test("repairs are drift only when the same configuration stood at a good attempt before", () => {
  const first = wanted(1);
  let state = attemptSucceeded(UNPROGRAMMED, first, [REPAIR], 10);
  assert.equal(state.drift, undefined, "the first programming is no drift");
  state = attemptSucceeded(state, wanted(2), [REPAIR], 20);
  assert.equal(state.drift, undefined, "a change of the configuration is no drift");
  state = attemptSucceeded(state, wanted(2), [], 30);
  assert.equal(state.drift, undefined, "nothing to repair is no drift");
  state = attemptSucceeded(state, wanted(2), [REPAIR, REPAIR], 40);
  assert.deepEqual(state.drift, { at: 40, repairs: [REPAIR, REPAIR], total: 2 });
  state = attemptSucceeded(attemptFailed(state, FAULT, 50), wanted(2), [REPAIR], 60);
  assert.equal(state.drift?.total, 2, "what a failed attempt left undone is no drift");
});

test("a new generation with the same content keeps the time at which it was applied", () => {
  const before = attemptSucceeded(UNPROGRAMMED, wanted(1, 1), [], 10);
  const after = attemptSucceeded(before, wanted(2, 1), [], 20);
  assert.deepEqual([after.applied?.generation, after.applied?.since, after.applied?.checkedAt], [2, 10, 20]);
});

test("failures in a row are counted from the first, and one success ends them", () => {
  const step = fc.oneof(fc.constant("good" as const), fc.constant("bad" as const));
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), (steps) => {
      const config = wanted(1);
      const end = steps.reduce<DataplaneState>(
        (state, step, now) =>
          step === "good" ? attemptSucceeded(state, config, [], now) : attemptFailed(state, FAULT, now),
        UNPROGRAMMED,
      );
      const lastGood = steps.lastIndexOf("good");
      const row = steps.length - 1 - lastGood;
      assert.equal(end.failure?.attempts ?? 0, row);
      assert.equal(end.failure?.since, row === 0 ? undefined : lastGood + 1);
    }),
  );
});

test("a long list of repairs is cut, and says how much was left out", () => {
  const text = describeRepairs(Array.from({ length: 9 }, () => REPAIR));
  assert.match(text, /^map: slots: 3 entries; .*; and 4 more$/);
});

test("the dataplane is asked on every change and again and again, and never twice at once", async () => {
  const dataplane = recordingDataplane();
  dataplane.behave = () => new Promise((resolve) => setImmediate(() => resolve([])));
  const { logger } = recordLogs();
  const reconciler = startReconciler({ dataplane, logger, onChange: () => {}, intervalMs: 5 });
  for (let generation = 1; generation <= 5; generation++) reconciler.want(wanted(generation));
  await until(() => reconciler.state().applied?.generation === 5, "the last one is applied");
  const calls = dataplane.ensured.length;
  await until(() => dataplane.ensured.length >= calls + 3, "it is verified again and again");
  await reconciler.stop(1000);
  assert.equal(dataplane.overlap, 1);
  assert.equal(dataplane.ensured.at(-1)?.gateways.length, 5);
});

test("a dataplane that fails is tried again until it works, and the log tells each fault once", async () => {
  const dataplane = recordingDataplane();
  let faults = 3;
  dataplane.behave = async () => {
    if (faults-- > 0) throw FAULT;
    return [];
  };
  const { logger, texts } = recordLogs();
  const reconciler = startReconciler({ dataplane, logger, onChange: () => {}, random: () => 0 });
  reconciler.want(wanted(1));
  await until(() => (reconciler.state().failure?.attempts ?? 0) > 0, "the failure is seen");
  await until(() => reconciler.state().applied !== undefined, "it works at last");
  await reconciler.stop(1000);
  assert.equal(reconciler.state().failure, undefined);
  assert.equal(texts().filter((text) => text.includes(FAULT.message)).length, 1);
});

test("drift is logged with what was repaired", async () => {
  const dataplane = recordingDataplane();
  let calls = 0;
  dataplane.behave = async () => (++calls === 3 ? [REPAIR] : []);
  const { logger, texts } = recordLogs();
  const reconciler = startReconciler({ dataplane, logger, onChange: () => {}, intervalMs: 2 });
  reconciler.want(wanted(1));
  await until(() => reconciler.state().drift !== undefined, "the drift is seen");
  await reconciler.stop(1000);
  assert.ok(texts().some((text) => text.includes("behind the agent's back") && text.includes(REPAIR.detail)));
});

test("a dataplane whose counters cannot be read is told, not thrown", async () => {
  const dataplane = recordingDataplane();
  dataplane.status = () => {
    throw FAULT;
  };
  const { logger, texts } = recordLogs();
  const reconciler = startReconciler({ dataplane, logger, onChange: () => {} });
  assert.equal(reconciler.measure(), undefined);
  assert.ok(texts().some((text) => text.includes(FAULT.message)));
  await reconciler.stop(1000);
});
