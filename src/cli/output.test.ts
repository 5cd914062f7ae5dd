import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { AnyObject } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import { parseManifests } from "./manifest.ts";
import { formatDocument, listOf } from "./output.ts";

/** Texts that YAML could take for something else. */
const awkward = fc.constantFrom(
  "no",
  "~",
  "null",
  "0x10",
  "1e3",
  "2026-11-24",
  "- a",
  "a: b",
  "#",
  "'",
  " x ",
  "\t",
  "=",
  "<<",
);
const text = fc.oneof(awkward, fc.string({ unit: "grapheme" }));

function read(document: string): unknown[] {
  return parseManifests({ source: "output", text: document }).map(({ input }) => input);
}

test("whatever is printed as JSON or YAML is read back as it was", () => {
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      text,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(text, tie("value"), { maxKeys: 3, noNullPrototype: true }),
    ),
  }));
  const field = text.filter((key) => key !== "kind" && key !== "__proto__");
  fc.assert(
    fc.property(field, value, fc.constantFrom("json" as const, "yaml" as const), (key, printed, format) => {
      assert.deepEqual(read(formatDocument({ [key]: printed }, format)), [{ [key]: printed }]);
    }),
  );
});

test("a list of objects is read back as its objects", () => {
  const label = fc.string({ maxLength: 63, unit: "grapheme" }).filter((value) => value.length <= 63);
  fc.assert(
    fc.property(
      fc.array(label, { maxLength: 4 }),
      fc.constantFrom("json" as const, "yaml" as const),
      (labels, format) => {
        const objects: AnyObject[] = labels.map((value, i) =>
          validateObject({
            apiVersion: "natto.dev/v1alpha1",
            kind: "Cell",
            metadata: { name: `c${i}`, labels: { value } },
            spec: {},
          }),
        );
        const again = read(formatDocument(listOf(objects), format)).map(validateObject);
        assert.deepEqual(again, objects);
      },
    ),
  );
});
