import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isJsonObject, type Json, type JsonObject, mergeThreeWay } from "./three-way.ts";

/** Small objects over few keys, so that the three sides meet often. */
const { object } = fc.letrec<{ object: JsonObject; value: Json }>((tie) => ({
  object: fc
    .uniqueArray(
      fc.tuple(fc.constantFrom("a", "b", "c", "toString", "__proto__"), tie("value")) as fc.Arbitrary<
        [string, Json]
      >,
      { selector: ([key]) => key, maxLength: 4 },
    )
    .map((entries) => Object.fromEntries(entries)),
  value: fc.oneof(
    { depthSize: "small" },
    { arbitrary: fc.integer({ min: 0, max: 3 }), weight: 3 },
    { arbitrary: fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 2 }), weight: 1 },
    { arbitrary: tie("object") as fc.Arbitrary<Json>, weight: 2 },
  ),
}));

/** Every path to something that is not a map with fields, as text, with its value. */
function leaves(value: Json, path: readonly string[] = []): Map<string, Json> {
  const found = new Map<string, Json>();
  if (!isJsonObject(value) || Object.keys(value).length === 0) return found.set(path.join("/"), value);
  for (const [key, field] of Object.entries(value)) {
    for (const [at, leaf] of leaves(field, [...path, key])) found.set(at, leaf);
  }
  return found;
}

function valueAt(root: Json, path: string): Json | undefined {
  let value: Json | undefined = root;
  for (const key of path.split("/")) {
    value = isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  }
  return value;
}

/** Whether `path` or a map that it leads through is a leaf of the object. */
function isCoveredBy(path: string, object: JsonObject): boolean {
  const parts = path.split("/");
  return parts.some((_, i) => {
    const value = valueAt(object, parts.slice(0, i + 1).join("/"));
    return value !== undefined && (i === parts.length - 1 || !isJsonObject(value));
  });
}

test("an object that is not stored yet becomes what the file says", () => {
  fc.assert(
    fc.property(object, object, (last, wanted) => {
      assert.deepEqual(mergeThreeWay(last, wanted, {}), wanted);
    }),
  );
});

test("every value of the file is in the result", () => {
  fc.assert(
    fc.property(object, object, object, (last, wanted, live) => {
      const merged = mergeThreeWay(last, wanted, live);
      for (const [path, value] of leaves(wanted)) {
        if (path === "" || (isJsonObject(value) && isJsonObject(valueAt(live, path)))) continue;
        assert.deepEqual(valueAt(merged, path), value, path);
      }
    }),
  );
});

test("a stored field that the file neither has nor had survives", () => {
  fc.assert(
    fc.property(object, object, object, (last, wanted, live) => {
      const merged = mergeThreeWay(last, wanted, live);
      for (const [path, value] of leaves(live)) {
        if (path === "" || isCoveredBy(path, wanted) || isCoveredBy(path, last)) continue;
        assert.deepEqual(valueAt(merged, path), value, path);
      }
    }),
  );
});

test("a field that the file had and has no longer is gone", () => {
  fc.assert(
    fc.property(object, object, object, (last, wanted, live) => {
      const merged = mergeThreeWay(last, wanted, live);
      for (const [path, value] of leaves(last)) {
        if (path === "" || valueAt(wanted, path) !== undefined || isJsonObject(value)) continue;
        if (isCoveredBy(path, wanted)) continue;
        assert.equal(valueAt(merged, path), undefined, path);
      }
    }),
  );
});

test("applying the same file again changes nothing", () => {
  fc.assert(
    fc.property(object, object, object, (last, wanted, live) => {
      const once = mergeThreeWay(last, wanted, live);
      assert.deepEqual(mergeThreeWay(wanted, wanted, once), once);
    }),
  );
});

test("an operator's drain survives a file that never mentioned it, and a weight removed from the file goes", () => {
  const last = { cell: "main", weight: 50 };
  const live = { cell: "main", weight: 50, drain: true };
  assert.deepEqual(mergeThreeWay(last, { cell: "main" }, live), { cell: "main", drain: true });
});

test("removing a map from the file leaves what others have set in it", () => {
  const last = { timeouts: { udp: 30 } };
  const live = { timeouts: { udp: 30, icmp: 10 } };
  assert.deepEqual(mergeThreeWay(last, {}, live), { timeouts: { icmp: 10 } });
  assert.deepEqual(mergeThreeWay(last, {}, { timeouts: { udp: 30 } }), {});
});
