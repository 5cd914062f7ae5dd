import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { natCloud } from "../clouds.ts";
import { type Lab, requireRoot, upLab } from "../lab.ts";
import { freshLabName } from "../lab-name.ts";
import { startProber } from "./traffic.ts";

const SERVER = "198.51.100.11";
const FIRST_PORT = 5000;

before(async () => {
  requireRoot();
  process.env.NATTO_LAB_DIR = await mkdtemp(join(tmpdir(), "natto-traffic-test-"));
});

after(async () => {
  if (process.env.NATTO_LAB_DIR) await rm(process.env.NATTO_LAB_DIR, { recursive: true });
});

function smallCloud(prefix: string): Promise<Lab> {
  const name = freshLabName(prefix);
  return upLab(natCloud({ name, nodes: 1, endpoints: 1, run: "traffic", plainForwarding: true }));
}

/** Makes the outside router treat packets so: each rule counts what it meets under its name, then does what it says. */
async function addRules(
  lab: Lab,
  rules: Readonly<Record<string, readonly [match: string, verdict: string]>>,
): Promise<void> {
  const lines = Object.entries(rules).flatMap(([name, [match, verdict]]) => [
    `add counter ip lab ${name}`,
    `add rule ip lab lab ${match} counter name ${name} ${verdict}`,
  ]);
  const table = "add table ip lab\nadd chain ip lab lab { type filter hook forward priority 0; }";
  await nft(lab, `${table}\n${lines.join("\n")}\n`);
}

/** Removes the rules and returns exactly what they have met. */
async function removeRules(lab: Lab): Promise<Readonly<Record<string, number>>> {
  await nft(lab, "flush chain ip lab lab\n");
  return counters(lab);
}

async function untilMet(lab: Lab, least: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!Object.values(await counters(lab)).every((count) => count >= least)) {
    assert(performance.now() < deadline, `not every rule met ${least} packets within 10 s`);
    await delay(20);
  }
}

async function counters(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const text = await nft(lab, "list counters\n");
  const found = [...text.matchAll(/counter (\w+) \{\s+packets (\d+)/g)];
  return Object.fromEntries(found.map(([, name, packets]) => [name, Number(packets)]));
}

async function nft(lab: Lab, input: string): Promise<string> {
  const result = await lab.exec("fabric-out", ["nft", "-f", "-"], { input });
  assert.equal(result.code, 0, result.stderr);
  return result.stdout;
}

test("The prober tells how many packets were lost on the way out and on the way back, flow by flow.", async () => {
  await using lab = await smallCloud("loss");
  const prober = await startProber(lab, "ep1", { server: SERVER, udp: 3, rate: 50, localPort: FIRST_PORT });
  await prober.answered();
  await addRules(lab, {
    out: [`udp sport ${FIRST_PORT} udp dport 7007`, "drop"],
    back: [`udp sport 7007 udp dport ${FIRST_PORT + 1}`, "drop"],
  });
  await untilMet(lab, 10);
  const { out = 0, back = 0 } = await removeRules(lab);
  const { udp } = await prober.stop();
  assert.deepEqual(
    udp.map((flow) => [flow.lostOutbound, flow.lostInbound, flow.unresolved, flow.sent - flow.answered]),
    [
      [out, 0, 0, out],
      [0, back, 0, back],
      [0, 0, 0, 0],
    ],
  );
});

test("What is lost to the end is unresolved, because nobody can tell where.", async () => {
  await using lab = await smallCloud("dark");
  const prober = await startProber(lab, "ep1", { server: SERVER, udp: 1, rate: 50, drainMs: 200 });
  await prober.answered();
  await addRules(lab, { out: ["udp dport 7007", "drop"] });
  await untilMet(lab, 5);
  const { udp } = await prober.stop();
  const [flow] = udp;
  assert(flow && flow.unresolved >= 5);
  assert.equal(flow.sent, flow.answered + flow.unresolved);
});

test("A TCP flow that is reset is broken, with its reason, and the others are not.", async () => {
  await using lab = await smallCloud("reset");
  const prober = await startProber(lab, "ep1", { server: SERVER, tcp: 2, rate: 50, localPort: FIRST_PORT });
  await prober.answered();
  await addRules(lab, { cut: [`tcp sport ${FIRST_PORT} tcp dport 7007`, "reject with tcp reset"] });
  await untilMet(lab, 1);
  const { tcp } = await prober.stop();
  assert.deepEqual(
    tcp.map((flow) => [flow.outside, flow.broken?.reason]),
    [
      [`10.0.0.11:${FIRST_PORT}`, "ECONNRESET"],
      [`10.0.0.11:${FIRST_PORT + 1}`, undefined],
    ],
  );
});

test("Fresh flows tell how many new flows were not served, while old ones were.", async () => {
  await using lab = await smallCloud("fresh");
  const prober = await startProber(lab, "ep1", { server: SERVER, udp: 1, fresh: 50, localPort: FIRST_PORT });
  await prober.answered();
  await addRules(lab, { fresh: [`udp sport != ${FIRST_PORT} udp dport 7007`, "drop"] });
  await untilMet(lab, 10);
  const { fresh: dropped = 0 } = await removeRules(lab);
  const { fresh, udp } = await prober.stop();
  assert(fresh?.longestGap);
  assert.equal(fresh.attempts - fresh.answered, dropped);
  assert.equal(udp[0]?.answered, udp[0]?.sent);
});
