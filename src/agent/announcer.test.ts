import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { NattoError } from "../errors.ts";
import { cellRoutingSchema, resolveRouting } from "../model/routing.ts";
import { type Announcements, isNothing, NOTHING } from "../routing/announcements.ts";
import type { Router } from "../routing/router.ts";
import { until } from "../store/fixtures.ts";
import { type Announcer, startAnnouncer } from "./announcer.ts";
import { UNREADY_AFTER_MS } from "./dataplane-health.ts";
import { nodeConfig, recordingDataplane, recordLogs } from "./fixtures.ts";
import { configDigest } from "./node-config-check.ts";
import {
  attemptFailed,
  attemptSucceeded,
  type DataplaneState,
  startReconciler,
  UNPROGRAMMED,
  type WantedConfig,
} from "./reconciler.ts";

const FAULT = new NattoError("Environment", "interface in0 is missing; create it");
const ROUTING = resolveRouting(cellRoutingSchema.parse({ driver: "kernel" }), undefined);

function wanted(gateways: number): WantedConfig {
  const { spec } = nodeConfig(gateways, ROUTING ? { routing: ROUTING } : {});
  return { generation: gateways, digest: configDigest(spec), spec };
}

interface RecordingRouter extends Router {
  announced: Announcements;
  failure: NattoError | undefined;
}

/** A router that keeps what it is told, and tells `onSet` of every change of what it announces outside. */
function recordingRouter(onSet: (outside: readonly string[]) => void = () => {}): RecordingRouter {
  const router: RecordingRouter = {
    announced: NOTHING,
    failure: undefined,
    async ensure(wish) {
      if (router.failure) throw router.failure;
      const announce = wish?.announce ?? NOTHING;
      if (announce.outside.join() !== router.announced.outside.join()) onSet(announce.outside);
      router.announced = announce;
      return [];
    },
    observe: async () => ({ announced: router.announced, sessions: [] }),
  };
  return router;
}

/** An announcer that is stopped when the test is over. */
function announce(t: TestContext, router: Router, dataplane: () => DataplaneState): Announcer {
  const { logger } = recordLogs();
  const announcer = startAnnouncer({ router, logger, dataplane, onChange: () => {} });
  t.after(() => announcer.stop(1000));
  return announcer;
}

test("what comes is programmed before it is announced; what goes is withdrawn before it is taken away", async (t) => {
  const journal: string[] = [];
  const router = recordingRouter((outside) => journal.push(`announce ${outside.join(" ")}`));
  const dataplane = recordingDataplane();
  dataplane.behave = async () => {
    journal.push(`program ${dataplane.ensured.at(-1)?.gateways.length}`);
    return [];
  };
  const { logger } = recordLogs();
  let announcer: Announcer | undefined;
  const reconciler = startReconciler({
    dataplane,
    logger,
    beforeChange: async (next) => announcer?.beforeChange(next),
    onChange: () => announcer?.kick(),
    intervalMs: 3_600_000,
  });
  announcer = announce(t, router, reconciler.state);
  t.after(() => reconciler.stop(1000));
  for (const [gateways, expected] of [
    [1, "198.51.100.0/32"],
    [3, "198.51.100.0/31 198.51.100.2/32"],
    [1, "198.51.100.0/32"],
  ] as const) {
    reconciler.want(wanted(gateways));
    await until(
      () =>
        reconciler.state().applied?.generation === gateways &&
        router.announced.outside.join(" ") === expected,
      `${expected} is announced`,
    );
  }
  assert.deepEqual(journal, [
    "program 1",
    "announce 198.51.100.0/32",
    "program 3",
    // The block comes before the address in it goes.
    "announce 198.51.100.0/31 198.51.100.0/32 198.51.100.2/32",
    "announce 198.51.100.0/31 198.51.100.2/32",
    "announce 198.51.100.0/31 198.51.100.0/32 198.51.100.2/32",
    "announce 198.51.100.0/32",
    "program 1",
  ]);
});

test("a dataplane that fails its checks for a while is announced no more, until it is good again", async (t) => {
  const config = wanted(1);
  const good = attemptSucceeded({ ...UNPROGRAMMED, wanted: config }, config, [], 0);
  let state: DataplaneState = good;
  const router = recordingRouter();
  const announcer = announce(t, router, () => state);
  await until(() => !isNothing(router.announced), "the node is announced");
  state = attemptFailed(good, FAULT, Date.now());
  announcer.kick();
  await until(() => announcer.state().report !== undefined, "it was looked at");
  assert(!isNothing(router.announced), "a failure that is young changes nothing");
  state = attemptFailed(good, FAULT, Date.now() - UNREADY_AFTER_MS);
  announcer.kick();
  await until(() => isNothing(router.announced), "nothing is announced");
  assert.equal(announcer.state().withheld, FAULT.message);
  state = good;
  announcer.kick();
  await until(() => !isNothing(router.announced), "the node is announced again");
  assert.equal(announcer.state().withheld, undefined);
});

test("what an earlier agent announced stands until the dataplane is known to be good, or to be bad", async (t) => {
  const config = wanted(1);
  const asking = { ...UNPROGRAMMED, wanted: config };
  let state: DataplaneState = asking;
  const router = recordingRouter();
  router.announced = { inside: ["0.0.0.0/0"], outside: ["198.51.100.0/32"] };
  const earlier = router.announced;
  const announcer = announce(t, router, () => state);
  await announcer.beforeChange(config.spec);
  assert.deepEqual(router.announced.outside, earlier.outside);
  state = attemptFailed(asking, FAULT, Date.now());
  announcer.kick();
  await until(() => isNothing(router.announced), "a dataplane that never worked is not announced");
});

test("a router that fails is tried again, and holds up no change of the dataplane for long", async (t) => {
  const config = wanted(2);
  let state = attemptSucceeded({ ...UNPROGRAMMED, wanted: config }, config, [], 0);
  const router = recordingRouter();
  router.failure = new NattoError("Environment", "cannot run bird; install it");
  const announcer = announce(t, router, () => state);
  await until(() => announcer.state().failure?.error === router.failure, "the failure is known");
  await announcer.beforeChange(wanted(1).spec);
  state = attemptSucceeded({ ...state, wanted: wanted(1) }, wanted(1), [], 0);
  router.failure = undefined;
  announcer.kick();
  await until(() => router.announced.outside.join() === "198.51.100.0/32", "it is announced");
  await until(() => announcer.state().failure === undefined, "the failure is forgotten");
});
