import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf } from "./fixtures.ts";
import { cellRoutingSchema, nodeRoutingFaults, nodeRoutingSchema, resolveRouting } from "./routing.ts";

const SESSION = { name: "in", side: "inside", peerAs: 64512 };
const BIRD = { driver: "bird", localAs: 64600, sessions: [SESSION] };

const cellWith = (routing: unknown) => ({
  apiVersion: "natto.dev/v1alpha1",
  kind: "Cell",
  metadata: { name: "c" },
  spec: { routing },
});

test("a routing that breaks a rule is told by field, with what is allowed", () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{}, /^spec\.routing.* is not a routing; give driver 'bird'/],
    [{ ...BIRD, sessions: [] }, /^spec\.routing\.sessions: .*is empty; declare/],
    [{ ...BIRD, localAs: 0 }, /^spec\.routing\.localAs: 0 must be a whole number from 1 to 4294967294/],
    [{ ...BIRD, sessions: [SESSION, SESSION] }, /^spec\.routing\.sessions\[1\]\.name: "in" is the name of/],
    [
      { ...BIRD, sessions: ["a", "b"].map((name) => ({ ...SESSION, name, peer: "192.0.2.1" })) },
      /^spec\.routing\.sessions\[1\]\.peer: "192.0.2.1" is the peer of an earlier session/,
    ],
    [{ ...BIRD, sessions: [{ ...SESSION, communities: ["65536:1"] }] }, /communities\[0\]: .*too large/],
    [{ ...BIRD, sessions: [{ ...SESSION, communities: ["none"] }] }, /communities\[0\]: .*not a community/],
    [{ ...BIRD, sessions: [{ ...SESSION, passwordFile: "/a b" }] }, /passwordFile: .*is not a path/],
    [{ ...BIRD, sessions: [{ ...SESSION, password: "x" }] }, /password: unknown field/],
    [{ driver: "kernel", tables: { inside: 7, outside: 7 } }, /tables: .*the same table twice/],
    [{ driver: "kernel", tables: { inside: 254, outside: 7 } }, /tables\.inside: 254 is one of the kernel's/],
  ];
  for (const [routing, expected] of cases) {
    const faults = faultsOf(cellWith(routing));
    assert.ok(
      faults.some((fault) => expected.test(fault)),
      `${JSON.stringify(routing)}: ${faults.join("\n")}`,
    );
  }
});

test("a node changes what it names of a session and keeps the rest", () => {
  const cell = cellRoutingSchema.parse({ ...BIRD, sessions: [{ ...SESSION, med: 7, communities: ["1:2"] }] });
  const node = nodeRoutingSchema.parse({
    localAs: 64601,
    sessions: [
      { name: "in", peer: "192.0.2.1" },
      { name: "extra", side: "outside", peerAs: 64999 },
    ],
  });
  const resolved = resolveRouting(cell, node);
  assert(resolved?.driver === "bird");
  assert.equal(resolved.localAs, 64601);
  assert.deepEqual(resolved.problems, []);
  const [first, second] = resolved.sessions;
  const declared = { name: "in", side: "inside", peerAs: 64512, bfd: true, holdSeconds: 9 };
  assert.deepEqual(first, { ...declared, peer: "192.0.2.1", med: 7, communities: ["1:2"] });
  assert.deepEqual([second?.name, second?.bfd, second?.holdSeconds], ["extra", true, 9]);
});

test("without a declaration of its own a node has its cell's, and without the cell's it has none", () => {
  const cell = cellRoutingSchema.parse(BIRD);
  assert.deepEqual(resolveRouting(cell, undefined), { ...cell, announce: true, problems: [] });
  assert.equal(resolveRouting(undefined, nodeRoutingSchema.parse({ announce: false })), undefined);
  assert.equal(resolveRouting(cell, nodeRoutingSchema.parse({ announce: false }))?.announce, false);
});

test("a session that nobody completes is a fault at the door, and left out with a word about it after it", () => {
  const cell = cellRoutingSchema.parse(BIRD);
  const node = nodeRoutingSchema.parse({ sessions: [{ name: "inn", peer: "192.0.2.1" }] });
  const fields = nodeRoutingFaults(cell, node).map((f) => f.field);
  assert.deepEqual(fields, ["spec.routing.sessions[0].side", "spec.routing.sessions[0].peerAs"]);
  const resolved = resolveRouting(cell, node);
  assert.equal(resolved?.driver === "bird" && resolved.sessions.length, 1);
  assert.match(resolved?.problems[0] ?? "", /the cell has no session inn \(it has in\); give it/);
});

test("two sessions of a node with one router are one too many", () => {
  const cell = cellRoutingSchema.parse(BIRD);
  const twins = ["in", "out"].map((name) => ({ name, side: "both", peerAs: 1, peer: "192.0.2.1" }));
  const resolved = resolveRouting(cell, nodeRoutingSchema.parse({ sessions: twins }));
  assert.deepEqual(resolved?.problems, ["session out has the peer of session in; remove one of them"]);
});
