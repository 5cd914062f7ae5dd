import assert from "node:assert/strict";
import { test } from "node:test";
import type { BirdRouting } from "../model/routing.ts";
import { routing } from "./fixtures.ts";
import { judgePassword, type ResolvedSessions, resolveSessions } from "./sessions.ts";

const INTERFACES = { inside: "in0", outside: "out0" };

function declared(...sessions: readonly object[]): BirdRouting {
  const resolved = routing({ driver: "bird", localAs: 64600, sessions });
  assert(resolved.driver === "bird");
  return resolved;
}

function resolve(own: string, ...sessions: readonly object[]): ResolvedSessions {
  const [address = "", bits] = own.split("/");
  const addresses = own === "" ? [] : [{ interface: "in0", address, bits: Number(bits) }];
  const readPassword = (file: string) => judgePassword(file, file.endsWith("good") ? "secret\n" : "");
  return resolveSessions(declared(...sessions), { interfaces: INTERFACES, addresses, readPassword });
}

const SESSION = { name: "in", side: "inside", peerAs: 64512 };

test("the router is the other end of a subnet that has only two hosts", () => {
  for (const [own, router] of [
    ["192.0.2.0/31", "192.0.2.1"],
    ["192.0.2.1/31", "192.0.2.0"],
    ["192.0.2.5/30", "192.0.2.6"],
    ["192.0.2.6/30", "192.0.2.5"],
  ] as const) {
    assert.equal(resolve(own, SESSION).ready[0]?.peer, router, own);
  }
});

test("where the subnet leaves a choice, or is not there, the session says what to give", () => {
  const [wide] = resolve("192.0.2.9/24", SESSION).unready;
  assert.match(wide?.problem ?? "", /in0 has 192\.0\.2\.9\/24, a subnet of more than two hosts.*; give/);
  const [bare] = resolve("", SESSION).unready;
  assert.match(bare?.problem ?? "", /in0 has no IPv4 address.*; give the session its peer/);
  assert.equal(resolve("192.0.2.9/24", { ...SESSION, peer: "192.0.2.1" }).ready[0]?.peer, "192.0.2.1");
});

test("a session has the cell's AS unless it has one of its own, and its password from the file", () => {
  const { ready } = resolve(
    "192.0.2.0/31",
    { ...SESSION, passwordFile: "/good" },
    { ...SESSION, name: "other", peer: "192.0.2.9", localAs: 1 },
  );
  assert.deepEqual(
    ready.map(({ name, localAs, password }) => [name, localAs, password]),
    [
      ["in", 64600, "secret"],
      ["other", 1, undefined],
    ],
  );
});

test("a session without its password is not set up without one, and leaves the others alone", () => {
  const { ready, unready } = resolve(
    "192.0.2.0/31",
    { ...SESSION, passwordFile: "/empty" },
    { ...SESSION, name: "other", peer: "192.0.2.9" },
  );
  assert.deepEqual(
    ready.map(({ name }) => name),
    ["other"],
  );
  assert.match(unready[0]?.problem ?? "", /^\/empty has no password in its first line/);
});

test("of two sessions that turn out to have one router, one is set up", () => {
  const { ready, unready } = resolve("192.0.2.0/31", SESSION, {
    ...SESSION,
    name: "again",
    peer: "192.0.2.1",
  });
  assert.equal(ready.length, 1);
  assert.match(unready[0]?.problem ?? "", /its peer 192\.0\.2\.1 is that of session in/);
});

test("passwords that the kernel or BIRD would not take are refused", () => {
  const problems = ["", "two words", 'a"b', "a\\b", "x".repeat(81), "\u00e9"].map((text) =>
    judgePassword("/f", text),
  );
  assert(problems.every(({ found }) => found === "problem"));
  assert.deepEqual(judgePassword("/f", `${"x".repeat(80)}\nmore`), {
    found: "password",
    password: "x".repeat(80),
  });
});
