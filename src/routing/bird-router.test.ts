import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { enterSandbox } from "../dataplane/testing/sandbox.ts";
import { rejectsWith, until } from "../store/fixtures.ts";
import { askBird } from "./bird-control.ts";
import { birdFiles, birdPid, killBird } from "./bird-daemon.ts";
import { testRouter } from "./contract.ts";
import { NODE, ROUTER_AS, routing, startTestRouter } from "./fixtures.ts";
import { cleanupRouting, openRouter } from "./open-router.ts";
import type { SessionReport } from "./router.ts";

const { state } = enterSandbox();
const stateFolder = join(state, "node");
const files = birdFiles(stateFolder);
const fabric = startTestRouter(state);
after(async () => {
  await cleanupRouting(stateFolder);
  (await fabric).stop();
});

const SESSIONS = (["inside", "outside"] as const).map((side) => ({ name: side, side, peerAs: ROUTER_AS }));
const BFD = { intervalMs: 100, multiplier: 5 };
const ROUTING = routing({ driver: "bird", localAs: 64600, bfd: BFD, sessions: SESSIONS });
const ANNOUNCE = { inside: ["0.0.0.0/0"], outside: ["203.0.113.0/28"] };

testRouter("BIRD", async () => {
  const router = await fabric;
  return {
    stateFolder,
    routing: ROUTING,
    seen: router.learned,
    unmoved: router.connections,
    disturb: async () => {
      killBird(files);
      await until(() => birdPid(files) === undefined, "BIRD is gone");
    },
    leftovers: async () => {
      const pid = birdPid(files);
      return [
        ...(pid === undefined ? [] : [`process ${pid}`]),
        ...(existsSync(stateFolder) ? readdirSync(stateFolder) : []),
      ];
    },
  };
});

/** Has the inside session changed in this way, and waits until it is as expected. */
async function sessionWith(
  change: object,
  settled: (session: SessionReport) => boolean,
): Promise<SessionReport> {
  const sessions = SESSIONS.map((session, i) => (i === 0 ? { ...session, ...change } : session));
  const wish = {
    routing: routing({ driver: "bird", localAs: 64600, bfd: BFD, sessions }),
    node: NODE,
    announce: ANNOUNCE,
  };
  const router = openRouter(stateFolder);
  await router.ensure(wish);
  let found: SessionReport | undefined;
  await until(async () => {
    found = (await router.observe(wish)).sessions.find(({ name }) => name === "inside");
    return found !== undefined && settled(found);
  }, "the session is as expected");
  assert(found);
  return found;
}

test("a session that is up says so, and the router's address is found by the interface", async () => {
  const session = await sessionWith({}, ({ up }) => up);
  assert.equal(session.message, "BGP session inside to 10.9.0.0 AS 64512: Established");
});

test("an AS that the router does not have is told, with what to check", async () => {
  const failed = /ended it: check|check which AS/;
  const session = await sessionWith({ peerAs: 64999 }, ({ message }) => failed.test(message));
  assert.equal(session.up, false);
  assert.match(session.message, /^BGP session inside to 10\.9\.0\.0 AS 64999: \w+, .*AS/);
});

test("a password that the router does not know is told as a possible cause; the file it comes from is not readable by others", async () => {
  const passwordFile = join(state, "bgp.password");
  writeFileSync(passwordFile, "correct-horse\n");
  const session = await sessionWith({ passwordFile }, ({ up, message }) => !up && /password/.test(message));
  assert.match(session.message, /the same password/);
  assert.match(readFileSync(files.config, "utf8"), /password "correct-horse";/);
  assert.equal(statSync(files.config).mode & 0o077, 0);
});

test("a password file that is missing, or holds what BIRD does not take, keeps only its own session down", async () => {
  const passwordFile = join(state, "missing");
  const unready = ({ state: now }: SessionReport) => now === "Unconfigured";
  const missing = await sessionWith({ passwordFile }, unready);
  assert.match(missing.message, /is not set up: the password file .*missing cannot be read: .*; put it on/);
  writeFileSync(passwordFile, 'with "quotes"');
  assert.match((await sessionWith({ passwordFile }, unready)).message, /missing has .*; write another one/);
});

test("a router that does not answer is told", async () => {
  const session = await sessionWith(
    { peer: "10.9.0.7" },
    ({ state: now, message }) => now !== "Unconfigured" && message.includes("check"),
  );
  assert.equal(session.up, false);
});

test("protocols that somebody disabled are enabled again", async () => {
  await sessionWith({}, ({ up }) => up);
  await askBird(files.socket, ["disable session_inside"]);
  await sessionWith({}, ({ up }) => !up);
  await sessionWith({}, ({ up }) => up);
});

test("a BIRD that stands still is given three chances, then ended and started anew", async () => {
  await sessionWith({}, ({ up }) => up);
  const wish = { routing: ROUTING, node: NODE, announce: ANNOUNCE };
  const router = openRouter(stateFolder);
  const pid = birdPid(files);
  assert(pid !== undefined);
  process.kill(pid, "SIGSTOP");
  for (let silence = 1; silence < 3; silence++) await rejectsWith(router.ensure(wish), "Unavailable");
  assert.match((await router.ensure(wish)).join(), /^killed a BIRD that did not answer/);
  await until(() => birdPid(files) === undefined, "it is gone");
  assert.deepEqual(await router.ensure(wish), ["started BIRD"]);
  await sessionWith({}, ({ up }) => up);
});
