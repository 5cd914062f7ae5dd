/** The part of the contract suite that is about watches. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { NattoError } from "../errors.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import type { OpenStore } from "./contract.ts";
import { cell, gateway, rejectsWith, until } from "./fixtures.ts";
import { keyOf, keyText, type Selection, type Store, type WatchEvent } from "./store.ts";

const CELLS: Selection<"Cell"> = { kind: "Cell" };

/** A watch in the background that collects what it is told. */
function record<K extends Kind>(t: TestContext, store: Store, selection: Selection<K>, from: string) {
  const controller = new AbortController();
  const events: WatchEvent<K>[] = [];
  const ended = (async () => {
    for await (const event of store.watch(selection, from, controller.signal)) events.push(event);
  })();
  // Whoever awaits `ended` still sees the failure.
  ended.catch(() => {});
  t.after(() => controller.abort());
  return {
    ended,
    abort: () => controller.abort(),
    changes: () => events.filter((event) => event.type !== "BOOKMARK"),
    bookmarks: () => events.filter((event) => event.type === "BOOKMARK"),
    /** `TYPE name` of each change. */
    texts: () =>
      events.flatMap((e) => (e.type === "BOOKMARK" ? [] : [`${e.type} ${e.object.metadata.name}`])),
  };
}

/** The revision up to which the selection's list is complete now. */
async function revision(store: Store, selection: Selection = CELLS): Promise<string> {
  return (await store.list(selection)).resourceVersion;
}

export function contractOfWatches(open: OpenStore): void {
  contractOfDelivery(open);
  contractOfEnds(open);
  contractOfReplay(open);
}

function contractOfDelivery(open: OpenStore): void {
  test("a watch tells of every change after its revision, once, in order", async (t) => {
    const store = await open(t);
    await store.create(cell("before"));
    const from = await revision(store);
    const created = await store.create(cell("c1", 1));
    const watch = record(t, store, CELLS, from);
    await until(() => watch.changes().length === 1, "the change from before the watch arrives");
    const updated = await store.update(cell("c1", 2));
    const reported = await store.updateStatus({
      ...cell("c1"),
      status: { observedGeneration: 2, readyNodes: 0, totalNodes: 0, conditions: [] },
    });
    await store.delete({ kind: "Cell", name: "c1" });
    await until(() => watch.changes().length === 4, "all changes arrive");
    assert.deepEqual(watch.texts(), ["ADDED c1", "MODIFIED c1", "MODIFIED c1", "DELETED c1"]);
    const objects = watch.changes().map((event) => event.object);
    assert.deepEqual(objects.slice(0, 3), [created, updated, reported]);
    assert.deepEqual(objects[3]?.status, reported.status);
    const revisions = watch.changes().map((event) => Number(event.resourceVersion));
    assert.deepEqual(
      revisions,
      [...new Set(revisions)].sort((a, b) => a - b),
    );
    assert.equal(String(revisions[1]), updated.metadata.resourceVersion);
  });

  test("a watch that is taken up again from any of its events continues with the next one", async (t) => {
    const store = await open(t);
    const from = await revision(store);
    for (let i = 0; i < 6; i++) await store.create(cell(`c${i}`));
    const first = record(t, store, CELLS, from);
    await until(() => first.changes().length === 6, "all changes arrive");
    for (const [i, event] of first.changes().entries()) {
      const rest = record(t, store, CELLS, event.resourceVersion);
      await until(() => rest.bookmarks().length > 0, "the second watch has caught up");
      assert.deepEqual(rest.changes(), first.changes().slice(i + 1));
      rest.abort();
    }
  });

  test("a watch tells only of what is selected", async (t) => {
    const store = await open(t);
    const from = await revision(store);
    const inNamespace = record(t, store, { kind: "NatGateway", namespace: "a" }, from);
    const single = record(t, store, { kind: "NatGateway", namespace: "a", name: "g1" }, from);
    const all = record(t, store, { kind: "NatGateway" }, from);
    for (const [namespace, name] of [
      ["a-b", "g1"],
      ["a", "g10"],
      ["a", "g1"],
    ] as const) {
      await store.create(gateway(namespace, name));
      await store.create(cell(`${namespace}-${name}`));
    }
    await until(() => all.changes().length === 3 && single.changes().length === 1, "the changes arrive");
    await until(() => inNamespace.changes().length === 2, "the changes of the namespace arrive");
    assert.deepEqual(all.texts(), ["ADDED g1", "ADDED g10", "ADDED g1"]);
    assert.deepEqual(inNamespace.texts(), ["ADDED g10", "ADDED g1"]);
    assert.equal(single.changes()[0]?.object.metadata.namespace, "a");
  });

  test("a watch with nothing to tell says with bookmarks how far it is complete", async (t) => {
    const store = await open(t, { bookmarkMs: 20 });
    const from = await revision(store);
    const watch = record(t, store, CELLS, from);
    await until(() => watch.bookmarks().length > 0, "the first bookmark arrives");
    assert.equal(watch.bookmarks()[0]?.resourceVersion, from);
    const other = await store.create(gateway("a", "g1"));
    const latest = other.metadata.resourceVersion;
    await until(
      () => watch.bookmarks().at(-1)?.resourceVersion === latest,
      "a bookmark shows the other kind's write",
    );
    assert.deepEqual(watch.changes(), []);
  });

  test("two watchers do not disturb each other", async (t) => {
    const store = await open(t);
    const from = await revision(store);
    const one = record(t, store, CELLS, from);
    const two = record(t, store, CELLS, from);
    await store.create(cell("c1"));
    await until(() => one.changes().length === 1 && two.changes().length === 1, "both are told");
    one.abort();
    await one.ended;
    await store.create(cell("c2"));
    await until(() => two.changes().length === 2, "the other goes on");
    assert.deepEqual(one.texts(), ["ADDED c1"]);
    assert.deepEqual(two.texts(), ["ADDED c1", "ADDED c2"]);
  });

  test("a slow watcher loses nothing while its changes are kept", async (t) => {
    const store = await open(t);
    const from = await revision(store);
    const names = Array.from({ length: 400 }, (_, i) => `c${i}`);
    const seen: string[] = [];
    const controller = new AbortController();
    t.after(() => controller.abort());
    for await (const event of store.watch(CELLS, from, controller.signal)) {
      if (event.type === "BOOKMARK") {
        if (seen.length === 0) await store.create(cell(names[0]!));
        continue;
      }
      if (seen.length === 0) for (const name of names.slice(1)) await store.create(cell(name));
      seen.push(event.object.metadata.name);
      if (seen.length === names.length) break;
    }
    assert.deepEqual(seen, names);
  });
}

function contractOfEnds(open: OpenStore): void {
  test("a watch from a revision that is no longer kept is told to list again", async (t) => {
    const store = await open(t, { maxChanges: 16 });
    const from = await revision(store);
    for (let i = 0; i < 40; i++) await store.create(cell(`c${i}`));
    const error = await rejectsWith(record(t, store, CELLS, from).ended, "Expired");
    assert.match(error.message, /list again/);
    const now = record(t, store, CELLS, await revision(store));
    await until(() => now.bookmarks().length > 0, "a watch from the list's revision works");
  });

  test("a watcher too slow for what is kept is told so, and not given the rest as if it were complete", async (t) => {
    const store = await open(t, { maxChanges: 16 });
    const from = await revision(store);
    const seen: number[] = [];
    // Large enough that no buffer on the way can hold them all.
    const bulk = { annotations: { bulk: "x".repeat(20_000) } };
    const controller = new AbortController();
    t.after(() => controller.abort());
    const consume = async (): Promise<void> => {
      for await (const event of store.watch(CELLS, from, controller.signal)) {
        if (event.type === "BOOKMARK" && seen.length === 0) {
          seen.push(0);
          for (let i = 1; i <= 1_000; i++) {
            const draft = cell(`c${i}`);
            await store.create({ ...draft, metadata: { ...draft.metadata, ...bulk } });
          }
        } else if (event.type !== "BOOKMARK") seen.push(Number(event.object.metadata.name.slice(1)));
      }
    };
    await rejectsWith(consume(), "Expired");
    assert.deepEqual(
      seen,
      Array.from({ length: seen.length }, (_, i) => i),
    );
    assert(seen.length < 1_000);
  });

  test("a watch that is idle for longer than the past is kept misses nothing", async (t) => {
    const store = await open(t, { maxChanges: 16 });
    const watch = record(t, store, CELLS, await revision(store));
    await until(() => watch.bookmarks().length > 0, "the watch has caught up");
    for (let i = 0; i < 40; i++) await store.create(gateway("a", `g${i}`));
    await store.create(cell("c1"));
    await until(() => watch.changes().length === 1, "the change arrives");
    assert.deepEqual(watch.texts(), ["ADDED c1"]);
  });

  test("a watch from a revision that this store never reached is told to list again", async (t) => {
    const store = await open(t);
    const ahead = String(Number(await revision(store)) + 1_000);
    await rejectsWith(record(t, store, CELLS, ahead).ended, "Expired");
    await rejectsWith(record(t, store, CELLS, "1").ended, "Expired");
  });

  test("a watch from something that is not a revision is refused", async (t) => {
    const store = await open(t);
    await rejectsWith(record(t, store, CELLS, "").ended, "BadRequest");
    await rejectsWith(record(t, store, CELLS, "yesterday").ended, "BadRequest");
  });

  test("an abort ends the watch without an error, before it begins and while it waits", async (t) => {
    const store = await open(t);
    const from = await revision(store);
    const watch = record(t, store, CELLS, from);
    await until(() => watch.bookmarks().length > 0, "the watch waits");
    watch.abort();
    await watch.ended;

    await store.create(cell("c1"));
    for await (const event of store.watch(CELLS, from, AbortSignal.abort())) assert.fail(event.type);
  });
}

type Step =
  | { readonly op: "create" | "update" | "delete"; readonly name: string; readonly port: number }
  | { readonly op: "other"; readonly name: string; readonly port: number };

const stepArb: fc.Arbitrary<Step> = fc.record({
  op: fc.constantFrom(
    "create" as const,
    "update" as const,
    "update" as const,
    "delete" as const,
    "other" as const,
  ),
  name: fc.constantFrom("c1", "c2", "c3"),
  port: fc.integer({ min: 1, max: 5 }),
});

async function perform(store: Store, step: Step): Promise<void> {
  try {
    if (step.op === "create") await store.create(cell(step.name, step.port));
    else if (step.op === "update") await store.update(cell(step.name, step.port));
    else if (step.op === "delete") await store.delete({ kind: "Cell", name: step.name });
    else await store.create(gateway("a", step.name));
  } catch (error) {
    if (!(error instanceof NattoError) || !["AlreadyExists", "NotFound"].includes(error.code)) throw error;
  }
}

function contractOfReplay(open: OpenStore): void {
  test("replaying a watch onto the list it began with gives the final list, whatever writers do at the same time", async (t) => {
    const store = await open(t);
    const writers = fc.array(fc.array(stepArb, { maxLength: 12 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(writers, async (plans) => {
        const start = await store.list(CELLS);
        const state = new Map(start.items.map((item) => [keyText(keyOf(item)), item]));
        const watch = record(t, store, CELLS, start.resourceVersion);
        await Promise.all(
          plans.map(async (steps) => {
            for (const step of steps) await perform(store, step);
          }),
        );
        await store.create(cell("the-end"));
        await until(() => watch.texts().includes("ADDED the-end"), "the last change arrives");
        watch.abort();
        await watch.ended;
        for (const event of watch.changes()) apply(state, event);
        const final = await store.list(CELLS);
        await store.delete({ kind: "Cell", name: "the-end" });
        assert.deepEqual(
          [...state.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)),
          final.items,
        );
      }),
      { numRuns: 25 },
    );
  });
}

/** Applies a change, checking that it fits what was known: an event lost or told twice would not. */
function apply(
  state: Map<string, ObjectOf<"Cell">>,
  event: Exclude<WatchEvent<"Cell">, { type: "BOOKMARK" }>,
): void {
  const key = keyText(keyOf(event.object));
  const before = state.get(key);
  assert.equal(before === undefined, event.type === "ADDED", `${event.type} ${key}`);
  if (event.type === "DELETED") state.delete(key);
  else state.set(key, event.object);
}
