/** The contract suite of elections: what every driver must do. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { pino } from "pino";
import { NattoError } from "../errors.ts";
import { cell, rejectsWith, until } from "../store/fixtures.ts";
import type { Store } from "../store/store.ts";
import { interceptCalls } from "../store/testing/intercepted-store.ts";
import type { Election } from "./election.ts";
import { openStoreElection } from "./store-election.ts";

export const GROUP = "test";
export const SILENT = pino({ level: "silent" });
/** The least that a lease of etcd may live. */
export const TTL_MS = 1_000;

export interface ElectionSetup {
  /** The store that the terms fence, as somebody who takes no part sees it. */
  readonly store: Store;
  /** A candidate with a time to live of about a second. While it is mute nothing that it says gets anywhere, as if its process stood still. */
  candidate(name: string): { readonly election: Election; mute(muted: boolean): void };
}

export type OpenElections = (t: TestContext) => Promise<ElectionSetup>;

export function contractOfElections(driver: string, open: OpenElections): void {
  describe(`election by ${driver} keeps the contract:`, () => {
    test("of several candidates one leads, the others know who, and it goes on leading", async (t) => {
      const { candidate } = await open(t);
      const all = ["a", "b", "c"].map((name) => ({ name, ...candidate(name) }));
      const leaders = () => all.filter(({ election }) => election.term());
      await until(() => leaders().length === 1, "one leads");
      const [leader] = leaders();
      await until(() => all.every(({ election }) => election.leader() === leader?.name), "all know who");
      const term = leader?.election.term();
      await term?.store.create(cell("c1"));
      assert.equal(leader?.election.term(), term);
    });

    test("a leader that gives up is followed by another, whose term is later and ends the first", async (t) => {
      const { store, candidate } = await open(t);
      const a = candidate("a");
      await until(() => a.election.term() !== undefined, "a leads");
      const first = a.election.term()!;
      await first.store.create(cell("c1", 1));
      const b = candidate("b");
      await a.election.close();
      assert.equal(a.election.term(), undefined);
      await until(() => b.election.term() !== undefined, "b leads");
      await rejectsWith(first.store.update(cell("c1", 2)), "Fenced");
      await b.election.term()!.store.update(cell("c1", 3));
      assert.equal((await store.get({ kind: "Cell", name: "c1" }))?.spec.vxlan.port, 3);
    });

    test("a leader that stands still is replaced; when it wakes it can write nothing, and stands by", async (t) => {
      const { store, candidate } = await open(t);
      const a = candidate("a");
      await until(() => a.election.term() !== undefined, "a leads");
      const old = a.election.term()!;
      const b = candidate("b");
      a.mute(true);
      await until(() => b.election.term() !== undefined, "b leads");
      const told: boolean[] = [];
      a.election.onChange(() => told.push(a.election.term() !== undefined));
      const created = await b.election.term()!.store.create(cell("c1"));
      a.mute(false);
      await rejectsWith(old.store.create(cell("c2")), "Fenced");
      await rejectsWith(old.store.delete({ kind: "Cell", name: "c1" }), "Fenced");
      a.election.doubt();
      await until(() => a.election.term() === undefined, "a stands by");
      assert(!told.includes(true), "a never believes to lead again");
      await until(() => a.election.leader() === "b", "a knows who leads");
      assert.deepEqual((await store.list({ kind: "Cell" })).items, [created]);
    });

    test("when all candidates are mute for longer than a term, one of them leads afterwards", async (t) => {
      const { candidate } = await open(t);
      const all = ["a", "b"].map(candidate);
      const leads = () => all.filter(({ election }) => election.term()).length;
      await until(() => leads() === 1, "one leads");
      for (const { mute } of all) mute(true);
      await until(() => leads() === 0, "nobody believes to lead");
      for (const { mute } of all) mute(false);
      await until(() => leads() === 1, "one leads again");
    });
  });
}

/** Candidates for the leadership in a store, each with a voice of its own. */
export function electionsOn(t: TestContext, store: Store): ElectionSetup {
  return {
    store,
    candidate: (holder) => {
      const voice = mutable(store);
      const election = openStoreElection({
        store: voice.store,
        group: GROUP,
        holder,
        ttlMs: TTL_MS,
        logger: SILENT,
      });
      t.after(() => election.close());
      return { election, mute: voice.mute };
    },
  };
}

/** A store whose calls all fail while it is mute. */
function mutable(store: Store): { readonly store: Store; mute(muted: boolean): void } {
  let muted = false;
  const away = (): NattoError => new NattoError("Unavailable", "the candidate is mute");
  return {
    store: interceptCalls(store, (work) => (muted ? Promise.reject(away()) : work())),
    mute: (on) => {
      muted = on;
    },
  };
}
