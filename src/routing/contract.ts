/** What every router has to do, as one suite of tests for all drivers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoutingConfig } from "../model/routing.ts";
import { until } from "../store/fixtures.ts";
import { type Announcements, NOTHING } from "./announcements.ts";
import { NODE } from "./fixtures.ts";
import { cleanupRouting, openRouter } from "./open-router.ts";
import type { RoutingWish } from "./router.ts";

export interface RouterUnderTest {
  readonly stateFolder: string;
  readonly routing: RoutingConfig;
  /** What the rest of the world sees announced. */
  seen(): Promise<Announcements>;
  /** Something that must not change while what is announced changes, such as the age of sessions. */
  unmoved(): Promise<string>;
  /** Somebody takes away what is announced, behind the router's back. */
  disturb(): Promise<void>;
  /** What of the router is left on the machine: nothing once it is cleaned up. */
  leftovers(): Promise<readonly string[]>;
}

const FIRST: Announcements = {
  inside: ["0.0.0.0/0", "10.254.0.1/32"],
  outside: ["203.0.113.0/28"],
};
const SECOND: Announcements = {
  inside: ["10.254.0.1/32", "192.0.2.0/24"],
  outside: ["203.0.113.0/28", "203.0.113.64/32"],
};

/** Declares the tests; `prepare` is called once, before the first of them. */
export function testRouter(driver: string, prepare: () => Promise<RouterUnderTest>): void {
  let prepared: Promise<RouterUnderTest> | undefined;
  const subject = (): Promise<RouterUnderTest> => (prepared ??= prepare());
  const story = (name: string, act: (under: RouterUnderTest) => Promise<void>): void => {
    test(`${driver}: ${name}`, async () => act(await subject()));
  };
  const wishFor = ({ routing }: RouterUnderTest, announce: Announcements): RoutingWish => ({
    routing,
    node: NODE,
    announce,
  });
  const untilSeen = async (under: RouterUnderTest, expected: Announcements): Promise<void> => {
    await until(
      async () => {
        const seen = await under.seen();
        return JSON.stringify(seen) === JSON.stringify(expected);
      },
      `${JSON.stringify(expected)} is seen`,
    );
  };

  story("what is wished is announced, and wishing it again changes nothing", async (under) => {
    const router = openRouter(under.stateFolder);
    assert.notDeepEqual(await router.ensure(wishFor(under, FIRST)), []);
    await untilSeen(under, FIRST);
    assert.deepEqual((await router.observe(wishFor(under, FIRST))).announced, FIRST);
    assert.deepEqual(await router.ensure(wishFor(under, FIRST)), []);
  });

  story("another wish adds and takes away, and moves nothing else", async (under) => {
    const router = openRouter(under.stateFolder);
    const before = await under.unmoved();
    for (const wish of [SECOND, NOTHING, FIRST]) {
      assert.notDeepEqual(await router.ensure(wishFor(under, wish)), []);
      await untilSeen(under, wish);
    }
    assert.equal(await under.unmoved(), before);
  });

  story("a router that is opened anew, as after the agent's restart, finds all as it was", async (under) => {
    const before = await under.unmoved();
    const router = openRouter(under.stateFolder);
    assert.deepEqual((await router.observe(wishFor(under, FIRST))).announced, FIRST);
    assert.deepEqual(await router.ensure(wishFor(under, FIRST)), []);
    assert.equal(await under.unmoved(), before);
    await untilSeen(under, FIRST);
  });

  story("what somebody took away behind its back is announced again, and told of", async (under) => {
    const router = openRouter(under.stateFolder);
    await under.disturb();
    assert.notDeepEqual(await router.ensure(wishFor(under, FIRST)), []);
    await untilSeen(under, FIRST);
  });

  story("without a wish nothing is announced and nothing is left", async (under) => {
    const router = openRouter(under.stateFolder);
    assert.notDeepEqual(await under.leftovers(), []);
    assert.notDeepEqual(await router.ensure(undefined), []);
    assert.deepEqual(await under.leftovers(), []);
    assert.deepEqual(await router.ensure(undefined), []);
    await untilSeen(under, NOTHING);
  });

  story("cleaning up needs no wish, and leaves nothing", async (under) => {
    await openRouter(under.stateFolder).ensure(wishFor(under, FIRST));
    await untilSeen(under, FIRST);
    assert.notDeepEqual(await cleanupRouting(under.stateFolder), []);
    assert.deepEqual(await under.leftovers(), []);
    assert.deepEqual(await cleanupRouting(under.stateFolder), []);
    await untilSeen(under, NOTHING);
  });
}
