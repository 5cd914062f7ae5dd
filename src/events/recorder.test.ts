import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import type { Event } from "../model/event.ts";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { occurrence } from "./fixtures.ts";
import { eventKey } from "./occurrence.ts";
import { startEventRecorder } from "./recorder.ts";

function recordWarnings() {
  const texts: string[] = [];
  const warn = (first: string | object, second?: string): void => {
    texts.push(typeof first === "string" ? first : (second ?? ""));
  };
  return { logger: { warn }, texts };
}

async function stored(store: Store): Promise<readonly Event[]> {
  return (await store.list({ kind: "Event" })).items;
}

test("Repeats are counted in one Event, over restarts of who records them too.", async () => {
  const store = openMemoryStore();
  const { logger } = recordWarnings();
  for (const note of ["first", "second"]) {
    const recorder = startEventRecorder({ store, reporter: "n2", logger });
    recorder.record(occurrence("Repaired", note), occurrence("Repaired", note));
    await recorder.stop(5000);
  }
  const [event, ...more] = await stored(store);
  assert.deepEqual(more, []);
  assert.deepEqual(
    [event?.spec.count, event?.spec.note, event?.metadata.namespace],
    [4, "second", "default"],
  );
  assert(event && event.spec.firstTime <= event.spec.lastTime);
  await store.close();
});

test("Other objects, reasons and reporters have Events of their own, whose names begin with the reporter's.", () => {
  const keys = [
    eventKey(occurrence("Repaired"), "n2"),
    eventKey(occurrence("NotReady"), "n2"),
    eventKey(occurrence("Repaired", "", "n3"), "n2"),
    eventKey(occurrence("Repaired"), "n4"),
    eventKey(occurrence("Repaired"), "n".repeat(63)),
  ];
  assert.equal(new Set(keys.map(({ name }) => name)).size, keys.length);
  assert(keys.every(({ name }) => name.length <= 63));
  assert.match(keys[0]!.name, /^n2-[0-9a-f]{16}$/);
});

test("While the store is away nothing waits for it, and all is told when it is back.", async () => {
  const memory = openMemoryStore();
  let away = true;
  const store: Store = {
    ...memory,
    get: async (key) => {
      if (away) throw new NattoError("Unavailable", "away");
      return memory.get(key);
    },
  };
  const { logger, texts } = recordWarnings();
  const recorder = startEventRecorder({ store, reporter: "n2", logger, random: () => 0 });
  for (let i = 0; i < 3; i++) recorder.record(occurrence("NotStoreReachable", `${i}`));
  away = false;
  await until(async () => (await stored(memory)).length > 0, "the event is written");
  await recorder.stop(5000);
  const [event] = await stored(memory);
  assert.deepEqual([event?.spec.count, event?.spec.note], [3, "2"]);
  assert.deepEqual(texts, []);
  await memory.close();
});

test("What is refused is given up and said once; what others change at the same time is tried again.", async () => {
  const memory = openMemoryStore();
  let conflicts = 2;
  const store: Store = {
    ...memory,
    create: async (draft) => {
      if (draft.kind === "Event" && draft.spec.reason === "Forbidden") {
        throw new NattoError("Forbidden", "not allowed");
      }
      if (conflicts-- > 0) throw new NattoError("Conflict", "overtaken");
      return memory.create(draft);
    },
  };
  const { logger, texts } = recordWarnings();
  const recorder = startEventRecorder({ store, reporter: "n2", logger });
  recorder.record(occurrence("Forbidden"), occurrence("Forbidden", "", "n3"), occurrence("Contested"));
  await recorder.stop(5000);
  assert.deepEqual(
    (await stored(memory)).map(({ spec }) => spec.reason),
    ["Contested"],
  );
  assert.deepEqual(texts, ["an event cannot be written down: not allowed"]);
  await memory.close();
});

test("More than can wait is left out, and how much that was is said.", async () => {
  const store = openMemoryStore();
  const { logger, texts } = recordWarnings();
  const recorder = startEventRecorder({ store, reporter: "n2", logger });
  for (let i = 0; i < 250; i++) recorder.record(occurrence("Repaired", "", `n${i}`));
  await recorder.stop(5000);
  assert.deepEqual(texts, ["50 events were not written down: too many happened at once"]);
  await store.close();
});
