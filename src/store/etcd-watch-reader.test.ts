import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Event, WatchResponse } from "./etcd-rpc.ts";
import { type ReaderState, readMessage } from "./etcd-watch-reader.ts";
import type { Change } from "./key-value.ts";

const PREFIX = "/p/";

function event(name: string, revision: number, more: Partial<Event> = {}): Event {
  const kv = { key: Buffer.from(PREFIX + name), create_revision: "1", mod_revision: String(revision) };
  return { type: "PUT", kv: { ...kv, value: Buffer.from(`${name}@${revision}`) }, prev_kv: null, ...more };
}

function message(more: Partial<WatchResponse>): WatchResponse {
  return {
    header: { revision: "900" },
    created: false,
    canceled: false,
    compact_revision: "0",
    cancel_reason: "",
    fragment: false,
    events: [],
    ...more,
  };
}

/** What is told of the messages, one after the other, with the position after each. */
function readAll(messages: readonly WatchResponse[], from: number) {
  let state: ReaderState = { position: from, held: [] };
  const told: { readonly changes: readonly Change[]; readonly position: number }[] = [];
  for (const next of messages) {
    const read = readMessage(state, next, PREFIX.length);
    state = read.state;
    told.push({ changes: read.step.type === "changes" ? read.step.changes : [], position: state.position });
  }
  return told;
}

/** Events of growing revisions, several of which may share one, cut into answers and fragments anywhere etcd may cut. */
const answersArb = fc
  .array(fc.record({ changes: fc.integer({ min: 1, max: 4 }), ends: fc.boolean() }), {
    minLength: 1,
    maxLength: 12,
  })
  .chain((revisions) =>
    fc.record({
      revisions: fc.constant(revisions),
      cuts: fc.array(fc.boolean(), { minLength: 48, maxLength: 48 }),
    }),
  )
  .map(({ revisions, cuts }) => {
    const messages: WatchResponse[] = [];
    let events: Event[] = [];
    let n = 0;
    revisions.forEach(({ changes, ends }, i) => {
      for (let k = 1; k <= changes; k++) {
        events.push(event(`k${k}`, 10 + i));
        const lastOfRevision = k === changes;
        const lastOfAnswer = lastOfRevision && (ends || i === revisions.length - 1);
        if (!lastOfAnswer && !cuts[n++]) continue;
        messages.push(message({ events, fragment: !lastOfAnswer }));
        events = [];
      }
    });
    return messages;
  });

test("however answers are cut, every change is told once, in order, and only with all changes of its revision", () => {
  fc.assert(
    fc.property(answersArb, (messages) => {
      const all = messages.flatMap(({ events }) => events.map((e) => e.kv.value.toString()));
      const told = readAll(messages, 9);
      assert.deepEqual(
        told.flatMap(({ changes }) => changes.map(({ value }) => value)),
        all,
      );
      const seen: string[] = [];
      for (const { changes, position } of told) {
        seen.push(...changes.map(({ value }) => value));
        // Whoever goes on from this position misses nothing and hears nothing twice.
        assert.deepEqual(
          all.filter((value) => Number(value.split("@")[1]) <= position),
          seen,
        );
      }
    }),
  );
});

test("created says nothing about how far a watch is complete; progress does, and never goes back", () => {
  const told = readAll(
    [
      message({ created: true }),
      message({ header: { revision: "12" } }),
      message({ header: { revision: "11" } }),
    ],
    9,
  );
  assert.deepEqual(
    told.map(({ position }) => position),
    [9, 12, 12],
  );
});

test("a put is ADDED or MODIFIED by its creation, and a deletion tells what was there last", () => {
  const prev_kv = event("a", 11).kv;
  const events = [
    event("a", 10, { kv: { ...event("a", 10).kv, create_revision: "10" } }),
    event("a", 11),
    event("a", 12, { type: "DELETE", prev_kv }),
  ];
  assert.deepEqual(readAll([message({ events })], 9)[0]?.changes, [
    { type: "ADDED", key: "a", value: "a@10", revision: 10 },
    { type: "MODIFIED", key: "a", value: "a@11", revision: 11 },
    { type: "DELETED", key: "a", value: "a@11", revision: 12 },
  ]);
});

test("a deletion whose past is gone, and a compacted revision, are Expired", () => {
  const deletion = message({ events: [event("a", 12, { type: "DELETE" })] });
  assert.throws(() => readAll([deletion], 9), { code: "Expired", message: /what a held.*list again/ });
  const compacted = message({ canceled: true, compact_revision: "50" });
  assert.throws(() => readAll([compacted], 9), { code: "Expired", message: /only since 50; list again/ });
});
