import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { payload, payloadDigest } from "./payload.ts";

test("A payload has its length, begins like every longer one, and has the digest that is computed without it.", () => {
  const long = Buffer.concat([...payload(300_000)]);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 300_000 }), (length) => {
      const body = Buffer.concat([...payload(length)]);
      assert(body.equals(long.subarray(0, length)));
      assert.equal(payloadDigest(length), createHash("sha256").update(body).digest("hex"));
    }),
    { numRuns: 20 },
  );
});

test("No two chunks of a large body are alike.", () => {
  const chunks = [...payload(10_000_000)].map((chunk) => createHash("sha256").update(chunk).digest("hex"));
  assert.equal(new Set(chunks).size, chunks.length);
});
