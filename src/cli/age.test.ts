import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatAge, formatSpan } from "./age.ts";

test("a span is shown by its two largest units", () => {
  const shown = [0, -5, 59.9, 60, 61, 3600, 3661, 90_000, 86_400 * 400 + 59].map(formatSpan);
  assert.deepEqual(shown, ["0s", "0s", "59s", "1m", "1m1s", "1h", "1h1m", "1d1h", "400d"]);
});

test("a span that is shown is never longer than the span, and short by less than its smallest unit allows", () => {
  const seconds = { d: 86_400, h: 3_600, m: 60, s: 1 } as const;
  fc.assert(
    fc.property(fc.nat(1_000_000_000), (span) => {
      const shown = [...formatSpan(span).matchAll(/(\d+)([dhms])/g)].reduce(
        (sum, [, count, unit]) => sum + Number(count) * seconds[unit as keyof typeof seconds],
        0,
      );
      assert(shown <= span);
      assert(span - shown < Math.max(1, span / 24));
    }),
  );
});

test("an age is empty when the moment is none", () => {
  assert.equal(formatAge("2026-01-01T00:00:00Z", Date.parse("2026-01-01T01:01:00Z")), "1h1m");
  assert.equal(formatAge("", 0), "");
});
