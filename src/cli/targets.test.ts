import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NattoError } from "../errors.ts";
import { KINDS, kindInfo } from "../model/kinds.ts";
import { parseLabelSelector } from "./label-selector.ts";
import { editDistance, nearestWord } from "./suggest.ts";
import { fullName, parseTargets, type Scope, type Target } from "./targets.ts";

const DEFAULT_SCOPE: Scope = { namespace: undefined, allNamespaces: false };

function parse(line: string, scope: Scope = DEFAULT_SCOPE): Target[] {
  return parseTargets(line.split(" "), scope);
}

function refusal(line: string, scope: Scope = DEFAULT_SCOPE): string {
  try {
    parse(line, scope);
  } catch (thrown) {
    assert(thrown instanceof NattoError);
    assert.equal(thrown.code, "BadRequest");
    return thrown.message;
  }
  return assert.fail(`${line} was understood`);
}

const web = { kind: "NatGateway", namespace: "team-a", name: "web" } as const;
const a = { kind: "GatewayNode", namespace: undefined, name: "a" } as const;

test("objects are named by kind and names, with or without their namespace", () => {
  const teamA = { namespace: "team-a", allNamespaces: false };
  assert.deepEqual(parse("gw web", teamA), [web]);
  assert.deepEqual(parse("natgateways team-a/web"), [web]);
  assert.deepEqual(parse("gw/team-a/web node/a"), [web, a]);
  assert.deepEqual(parse("NatGateway/web", teamA), [web]);
  assert.deepEqual(parse("gw web"), [{ ...web, namespace: "default" }]);
});

test("kinds alone stand for all their objects", () => {
  assert.deepEqual(parse("gw"), [{ ...web, namespace: "default", name: undefined }]);
  assert.deepEqual(parse("gw,node", { namespace: undefined, allNamespaces: true }), [
    { ...web, namespace: undefined, name: undefined },
    { ...a, name: undefined },
  ]);
  assert.deepEqual(
    parse("all").map(({ kind }) => kind),
    KINDS.filter((kind) => !kindInfo(kind).system),
  );
});

test("the names that commands print are understood", () => {
  const name = fc.constantFrom("a", "web-1", "x".repeat(63));
  fc.assert(
    fc.property(fc.constantFrom(...KINDS), name, name, (kind, namespace, objectName) => {
      const target = { kind, namespace: kindInfo(kind).namespaced ? namespace : undefined, name: objectName };
      assert.deepEqual(parse(fullName(kind, target.namespace, objectName)), [target]);
    }),
  );
});

test("what cannot be understood is refused with a way out", () => {
  assert.match(refusal("gatway web"), /no kind "gatway"; did you mean gateway\?/);
  assert.match(refusal("xyzzy"), /use one of cell, gatewaynode\|node/);
  assert.match(refusal("gw,node web"), /write KIND\/NAME/);
  assert.match(refusal("gw/"), /does not name an object/);
  assert.match(refusal("gw/a/b/c"), /does not name an object/);
  assert.match(refusal("node team-a/a"), /belongs to no namespace/);
  assert.match(
    refusal("gw team-b/web", { namespace: "team-a", allNamespaces: false }),
    /not in namespace team-a/,
  );
  assert.match(refusal("gw web", { namespace: undefined, allNamespaces: true }), /-A and a name/);
});

test("the distance of words is symmetric, zero only for equal words, and obeys the triangle inequality", () => {
  const word = fc.string({ maxLength: 6, unit: fc.constantFrom("a", "b", "c") });
  fc.assert(
    fc.property(word, word, (one, two) => {
      assert.equal(editDistance(one, two), editDistance(two, one));
      assert.equal(editDistance(one, two) === 0, one === two);
      assert(editDistance(one, two) <= Math.max(one.length, two.length));
    }),
  );
  assert.equal(nearestWord("aplpy", ["delete", "apply"]), "apply");
  assert.equal(nearestWord("frobnicate", ["delete", "apply"]), undefined);
});

test("label selectors hold when each of their terms does", () => {
  const labels = { zone: "east", tier: "" };
  const holds = (text: string) => parseLabelSelector(text)(labels);
  assert.deepEqual(
    ["zone=east", "zone==east", "zone", "tier=", "zone!=west", "rack!=r1"].map(holds),
    Array(6).fill(true),
  );
  assert.deepEqual(
    ["zone=west", "rack", "zone!=east", "zone,rack", "toString"].map(holds),
    Array(5).fill(false),
  );
  assert.throws(() => parseLabelSelector("zone=a,"), /not a label selector/);
});
