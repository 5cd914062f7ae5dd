/** The contract suite: what every driver of the membership must do. Each driver's test runs all of it. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { until } from "../store/fixtures.ts";
import type { MemberState, Members, Membership } from "./membership.ts";

/** A membership, and the world that it tells of. All functions may return before the membership has heard. */
export interface MembershipWorld {
  readonly membership: Membership;
  /** The agent of this node of cell `c1` works from now on, and sees these peers. */
  readonly live: (node: string, peersAlive?: readonly string[]) => Promise<void>;
  /** The agent of this node dies, and stays silent for its time to live. */
  readonly fallSilent: (node: string) => Promise<void>;
  /** The source can no longer be reached. */
  readonly goAway: () => Promise<void>;
  readonly comeBack: () => Promise<void>;
}

/** Opens a membership of a world in which there is nobody; what it needs is closed by `t.after`. */
export type OpenWorld = (t: TestContext) => Promise<MembershipWorld>;

export function contractOfMemberships(driver: string, open: OpenWorld): void {
  describe(`the ${driver} membership keeps the contract:`, () => {
    contractOfLife(open);
    contractOfAnnouncements(open);
    contractOfOutages(open);
  });
}

async function reaches(membership: Membership, node: string, state: MemberState | undefined): Promise<void> {
  await until(() => membership.current().get(node) === state, `${node} is ${state}`, 30_000);
}

/** A world in which these nodes live, and the membership knows it. */
async function openWith(t: TestContext, open: OpenWorld, ...nodes: string[]): Promise<MembershipWorld> {
  const world = await open(t);
  await until(() => world.membership.ready(), "it has heard of the members", 30_000);
  for (const node of nodes) await world.live(node);
  for (const node of nodes) await reaches(world.membership, node, "alive");
  return world;
}

function contractOfLife(open: OpenWorld): void {
  test("where nobody is there are no members, and that is known", async (t) => {
    const { membership } = await openWith(t, open);
    assert.equal(membership.current().size, 0);
    assert.equal(membership.trouble(), undefined);
  });

  test("a node that works is alive; one that falls silent is gone; one that works again is alive", async (t) => {
    const { membership, live, fallSilent } = await openWith(t, open, "n1", "n2");
    await fallSilent("n1");
    await reaches(membership, "n1", "gone");
    assert.equal(membership.current().get("n2"), "alive");
    await live("n1");
    await reaches(membership, "n1", "alive");
  });

  test("a silent node that a living peer sees is unmanaged; when the peer no longer sees it, it is gone", async (t) => {
    const { membership, live, fallSilent } = await openWith(t, open, "n1", "n2");
    await live("n2", ["n1"]);
    await fallSilent("n1");
    await reaches(membership, "n1", "unmanaged");
    await live("n2", []);
    await reaches(membership, "n1", "gone");
  });
}

function contractOfAnnouncements(open: OpenWorld): void {
  test("every change is announced after it has taken place, and nobody hears of it who has gone or closed", async (t) => {
    const { membership, live } = await openWith(t, open, "n1");
    const heard: Members[] = [];
    let left = 0;
    membership.onChange(() => void left++)();
    membership.onChange(() => heard.push(membership.current()));
    await live("n2");
    await reaches(membership, "n2", "alive");
    assert(heard.length > 0);
    assert.equal(heard.at(-1)?.get("n2"), "alive");
    assert.equal(left, 0);
    await membership.close();
    const before = heard.length;
    await live("n3");
    assert.equal(heard.length, before);
  });
}

function contractOfOutages(open: OpenWorld): void {
  test("while its source is away the last judgement stands and the trouble is told; afterwards it goes on", async (t) => {
    const { membership, live, fallSilent, goAway, comeBack } = await openWith(t, open, "n1", "n2");
    const before = new Map(membership.current());
    let announced = 0;
    membership.onChange(() => void announced++);
    await goAway();
    await until(() => membership.trouble() !== undefined, "the trouble is told", 30_000);
    assert.notEqual(membership.trouble(), "");
    assert(announced > 0, "the trouble is announced");
    assert.deepEqual(membership.current(), before);
    assert(membership.ready());
    await comeBack();
    await live("n1");
    await live("n2");
    await until(() => membership.trouble() === undefined, "there is no trouble any more", 30_000);
    await live("n3");
    await reaches(membership, "n3", "alive");
    await fallSilent("n1");
    await reaches(membership, "n1", "gone");
    assert.equal(membership.current().get("n2"), "alive");
  });
}
