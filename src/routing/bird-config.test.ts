/** Configurations are compared with files in testdata/ (write them anew with UPDATE_GOLDEN=1), which the real BIRD must take. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runOrThrow } from "../run-command.ts";
import { NOTHING } from "./announcements.ts";
import { type BirdConfig, protocolName, renderBird } from "./bird-config.ts";
import type { ReadySession } from "./sessions.ts";

const INSIDE: ReadySession = {
  name: "inside",
  side: "inside",
  peer: "192.0.2.0",
  peerAs: 64512,
  localAs: 4_200_000_001,
  bfd: true,
  password: undefined,
  communities: [],
  holdSeconds: 9,
};
const OUTSIDE: ReadySession = { ...INSIDE, name: "outside", side: "outside", peer: "192.0.2.2" };
const PLAIN: BirdConfig = {
  routerId: "10.254.0.1",
  bfd: { intervalMs: 100, multiplier: 3 },
  sessions: [INSIDE, OUTSIDE],
  announce: { inside: ["0.0.0.0/0", "10.254.0.1/32"], outside: ["203.0.113.0/28", "203.0.113.64/32"] },
  logFile: "/var/lib/natto/bird/bird.log",
};

const CASES: Readonly<Record<string, BirdConfig>> = {
  "two-sides": PLAIN,
  withdrawn: { ...PLAIN, announce: NOTHING },
  "one-router": { ...PLAIN, sessions: [{ ...INSIDE, name: "top-of-rack", side: "both" }] },
  "same-prefix-on-both-sides": {
    ...PLAIN,
    sessions: [INSIDE, OUTSIDE, { ...INSIDE, name: "both", side: "both", peer: "192.0.2.4" }],
    announce: { inside: ["203.0.113.0/28"], outside: ["203.0.113.0/28"] },
  },
  "only-outside": { ...PLAIN, sessions: [OUTSIDE] },
  "two-routers-a-side": {
    ...PLAIN,
    sessions: [
      { ...INSIDE, name: "in-a", password: "correct-horse", communities: ["64512:100", "4200000001:1:2"] },
      { ...INSIDE, name: "in-b", peer: "192.0.2.4", med: 50, bfd: false },
      { ...OUTSIDE, name: "out-a", holdSeconds: 30 },
      { ...OUTSIDE, name: "out-b", peer: "192.0.2.6", localAs: 64999 },
    ],
  },
};

for (const [name, config] of Object.entries(CASES)) {
  test(`the configuration '${name}' is what it was, and the real BIRD takes it`, async () => {
    const file = join(import.meta.dirname, "testdata", `${name}.conf`);
    const { text, digest } = renderBird(config);
    if (process.env.UPDATE_GOLDEN === "1") writeFileSync(file, text);
    assert(existsSync(file), `${file} is missing; write it with UPDATE_GOLDEN=1 and look at it`);
    assert.equal(text, readFileSync(file, "utf8"));
    assert(text.includes(digest));
    await runOrThrow("have BIRD read the configuration", ["bird", "-p", "-c", file]);
  });
}

test("configurations that differ have different digests, and equal ones the same", () => {
  const digests = new Set(Object.values(CASES).map((config) => renderBird(config).digest));
  assert.equal(digests.size, Object.keys(CASES).length);
  assert.equal(renderBird({ ...PLAIN }).digest, renderBird(PLAIN).digest);
});

test("names of sessions become names of protocols, no two of them the same one", () => {
  assert.equal(protocolName("top-of-rack"), "session_top_of_rack");
});
