import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { nodeConfig } from "../model/fixtures.ts";
import { address } from "../model/ipv4.ts";
import type { GatewayUsage } from "../model/usage.ts";
import { recordLogs } from "./fixtures.ts";
import { REFUSING_MS, startUsageMeter, USAGE_INTERVAL_MS, type UsageMeterOptions } from "./usage-meter.ts";

type Node = UsageMeterOptions["dataplane"];
type Records = ReturnType<Node["usageRecords"]>;

const { spec } = nodeConfig(1);

/** A meter on a clock that the test moves by one interval at a time. */
function metered(t: TestContext) {
  let records: Records = [];
  let refused = 0;
  let elapsed = 0;
  let due: (() => void) | undefined;
  const { logger, texts } = recordLogs();
  const node: Node = {
    usageRecords: () => records,
    gatewayCounters: () => new Map([["team/gw-0", { drop_no_port: { packets: refused, bytes: 0 } }]]),
  };
  const clock = {
    now: () => elapsed,
    elapsed: () => elapsed,
    after: (_ms: number, action: () => void) => {
      due = action;
      return () => {
        due = undefined;
      };
    },
  };
  const meter = startUsageMeter({ dataplane: node, node: "a", config: () => spec, logger, clock });
  t.after(() => meter.stop());
  return {
    texts,
    /** The usage of the only gateway after the next measurement. */
    async next(change: { records?: Records; refused?: number; passed?: number }): Promise<GatewayUsage> {
      records = change.records ?? records;
      refused = change.refused ?? refused;
      elapsed += change.passed ?? USAGE_INTERVAL_MS;
      const before = meter.state();
      assert(due, "a measurement is planned");
      due();
      while (meter.state() === before) await new Promise(setImmediate);
      // The loop plans its next run right after it has ended this one.
      await new Promise(setImmediate);
      const [usage] = meter.state();
      assert(usage);
      return usage;
    },
  };
}

function used(ports: number): Records {
  const common = { isSession: true, holdsPort: true, protocol: "udp" as const, remote: 0, remotePort: 0 };
  const at = { inside: address("10.0.0.5"), publicAddress: address("198.51.100.0") };
  return [Array.from({ length: ports }, (_, i) => ({ ...common, ...at, publicPort: 1024 + i }))];
}

test("the peak outlives the use", async (t) => {
  const { next } = metered(t);
  assert.equal((await next({ records: used(4608) })).peakPercent, 50);
  const later = await next({ records: used(0) });
  assert.deepEqual([later.fullest, later.peakPercent], [undefined, 50]);
});

test("a gateway that refused flows counts as refusing for a minute; what was refused before the agent's start does not", async (t) => {
  const { next } = metered(t);
  assert.equal((await next({ refused: 7 })).refusing, false);
  const refusing = await next({ refused: 9 });
  assert.deepEqual([refusing.refusing, refusing.refused], [true, 9]);
  assert.equal((await next({ passed: REFUSING_MS - 1 })).refusing, true);
  assert.equal((await next({ passed: 1 })).refusing, false);
});
