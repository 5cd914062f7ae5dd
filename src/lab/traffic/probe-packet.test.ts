import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeProbe, encodeAnswer, encodeRequest, PROBE_BYTES, PROBE_TYPES } from "./probe-packet.ts";

const word = fc.integer({ min: 0, max: 0xffffffff });

test("What is encoded is decoded again, at any length.", () => {
  const fields = {
    type: fc.constantFrom(...PROBE_TYPES),
    run: word,
    flow: word,
    sequence: word,
    received: word,
    duplicates: word,
    outside: fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 65535 })).map(([a, p]) => `${a}:${p}`),
  };
  const answer = fc.record(fields, { noNullPrototype: true });
  fc.assert(
    fc.property(answer, fc.integer({ min: PROBE_BYTES, max: 1472 }), (value, bytes) => {
      const packet = encodeAnswer(value, bytes);
      assert.equal(packet.length, bytes);
      assert.deepEqual(decodeProbe(packet), value);
    }),
  );
});

test("Foreign and short packets are not probes.", () => {
  const probe = encodeRequest({ type: "probe", run: 1, flow: 2, sequence: 3 });
  assert.equal(decodeProbe(probe.subarray(0, PROBE_BYTES - 1)), undefined);
  assert.equal(decodeProbe(Buffer.alloc(64)), undefined);
  assert.equal(decodeProbe(Buffer.from("hello")), undefined);
});
