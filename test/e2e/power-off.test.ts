/**
 * A node of four dies without warning, under more than 300 flows of numbered packets: only its own flows break, those that crossed it lose what
 * was on its way, and when it comes back booted anew nobody loses anything. With the control plane, and without it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { listObjects } from "../../src/demo/cloud.ts";
import {
  lostPackets,
  type ProbeOptions,
  type ProbeReport,
  powerOff,
  summarizeLosses,
} from "../../src/demo/power-off.ts";
import { CELL_ROUTING } from "../../src/lab/bgp.ts";
import {
  assertNothingLost,
  gatewayYaml,
  hostsOf,
  killHard,
  leavesNothing,
  nothingFor,
  pinnedEntries,
  placedSlots,
  placementOf,
  restart,
  serverAnswers,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";
import { forgetKernel, killEverything, startEverything } from "./node-outage.ts";
import { ownerOfEndpoint, ownersOf, settleMoves, untilApplied, untilBalanced } from "./slot-moves.ts";

const RATE = 10;
/** Of each of ten endpoints: more than 300 in all. */
const LOAD = { flows: 32, tcp: 2, rate: RATE, fresh: 10 };
const ROUTING = { routing: CELL_ROUTING };
/** Packets of a flow in the 300 ms that BFD may take to find out, and one that was on its way. */
const UNNOTICED = 0.3 * RATE + 1;
/** Packets of a flow in 80 ms, and one more. */
const MOMENT = 2;
/** New flows of an endpoint that get no answer: in that moment, and in the one in which slots go back to the node. */
const FRESH_MOMENT = 6;

const cloud = useCloud("poweroff", {
  nodes: 4,
  endpoints: 10,
  routing: "bgp",
  // New flows are many, and each holds a port for so long.
  gateways: [{ name: "web", yaml: gatewayYaml("web", "10.0.0.0/24", 1, "  timeouts: {udp: 20}\n") }],
});

/** A node that some endpoint's flows belong to, and the others. */
async function chooseVictim(): Promise<{ readonly victim: string; readonly survivors: readonly string[] }> {
  const victim = await ownerOfEndpoint(cloud(), "ep1");
  return { victim, survivors: hostsOf(cloud(), "node").filter((node) => node !== victim) };
}

/** The death of a node concerns its own flows, and for a moment those that crossed it, and nobody else. */
function assertOnlyItsOwn(report: ProbeReport, victim: string, diagnostic: (text: string) => void): void {
  assert(report.flows.length >= 300);
  const { own, crosses, elsewhere } = summarizeLosses(report.flows, victim);
  assert(own.flows > 0 && crosses.flows > 0 && elsewhere.flows > 0, "there are flows of all three kinds");
  diagnostic(
    `${elsewhere.flows} flows elsewhere lost ${elsewhere.lost} of ${elsewhere.sent} packets, ${crosses.flows} that crossed it ${crosses.lost} (${crosses.mostLost} of one)`,
  );
  assert.equal(elsewhere.lost, 0, "flows that have nothing to do with the dead node lose nothing");
  assert.equal(
    elsewhere.moved + crosses.moved,
    0,
    "flows of other nodes keep their outside address and port",
  );
  assert(crosses.mostLost <= UNNOTICED, `a flow that crossed the dead node lost ${crosses.mostLost} packets`);
  assert.equal(own.touched, own.flows, "all flows of the dead node have lost something");
  const moved = report.flows.filter(({ report: r }) => r.outside.length > 1);
  assert.deepEqual([...new Set(moved.map((flow) => flow.path.owner))], [victim]);
  const hit = new Set(report.flows.filter((f) => f.path.owner === victim).map((f) => f.host));
  const gaps = [...report.freshGaps].map(([host, ms]) => ({ host, ms, isHit: hit.has(host) }));
  diagnostic(
    `new flows were not answered for ${gaps.map(({ ms, isHit }) => `${Math.round(ms)}${isHit ? "*" : ""}`).join(" ")} ms (* the dead node's endpoints)`,
  );
  assert.deepEqual(
    gaps.filter(({ ms }) => ms >= 1000),
    [],
  );
}

async function probing(options: Partial<ProbeOptions>, act: () => Promise<void>): Promise<ProbeReport> {
  return whileProbing(cloud(), { ...LOAD, ...options }, act);
}

/**
 * Nothing happened but in the moment between the fabric's first packet for a node with old maps and the probes of two of its peers, which come every
 * 40 ms: for so long it acts by what it knew. (A TCP connection that comes to it then may be reset; docs/failures.md.)
 */
function assertOnlyAMoment(report: ProbeReport): void {
  const worst = Math.max(...report.flows.map(({ report: r }) => lostPackets(r)));
  assert(worst <= MOMENT, `a flow lost ${worst} packets`);
  for (const [host, { attempts, answered }] of report.fresh) {
    assert(
      answered >= attempts - FRESH_MOMENT,
      `${host}: ${answered} of ${attempts} new flows were answered`,
    );
  }
}

/** Who died in the first story, and comes back in the second. */
let lost: string;

test("When a node dies, its own flows break and no others, and its slots go exactly to their backups.", async (t) => {
  const lab = cloud();
  const { victim, survivors } = await chooseVictim();
  lost = victim;
  const before = placedSlots(await placementOf(lab, "web"));
  const report = await probing({ tcp: 0 }, async () => {
    await nothingFor(1);
    await powerOff(lab, victim);
    await until(
      "the slots of the dead node have other owners",
      async () => (await ownersOf(lab))[victim] === undefined,
    );
    await untilApplied(lab, survivors);
    await nothingFor(1);
  });
  assertOnlyItsOwn(report, victim, (text) => t.diagnostic(text));

  const after = placedSlots(await placementOf(lab, "web"));
  assert.equal(after.size, before.size);
  for (const [slot, { owner, backup }] of before) {
    assert.equal(after.get(slot)?.owner, owner === victim ? backup : owner, slot);
  }
});

test("While the node is dead every endpoint is served without loss, and so it is when the node comes back, booted anew, and is given its share.", async () => {
  const lab = cloud();
  const victim = lost;
  const survivors = hostsOf(lab, "node").filter((node) => node !== victim);
  await killEverything(lab, victim);
  await forgetKernel(lab, victim);
  await settleMoves(lab, ROUTING, survivors);
  const report = await probing({}, async () => {
    await nothingFor(1);
    await lab.restoreLinks(victim);
    await startEverything(lab, victim);
    await untilBalanced(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
});

test("With the control plane gone all of it holds: the node dies, is stood in for, and comes back booted anew.", async (t) => {
  const lab = cloud();
  await settleMoves(lab, ROUTING);
  const { victim, survivors } = await chooseVictim();
  const placements = await listObjects(lab, "Placement");
  await killHard(lab, "control", "server");
  const report = await probing({ placements, tcp: 0 }, async () => {
    await powerOff(lab, victim);
    await until("a survivor's program knows it", async () =>
      [...pinnedEntries(lab, survivors[0]!, "dead_nodes").values()].some((until_) => /[^0]/.test(until_)),
    );
    await nothingFor(3);
  });
  assertOnlyItsOwn(report, victim, (text) => t.diagnostic(text));
  await killEverything(lab, victim);
  await forgetKernel(lab, victim);
  const returning = await probing({ placements }, async () => {
    await lab.restoreLinks(victim);
    await startEverything(lab, victim);
    await nothingFor(6);
  });
  assertNothingLost(returning);
  await restart(lab, "control", "server");
  await serverAnswers(lab);
  await untilBalanced(lab);
});

test("A node that comes back with old maps while its agent is paused stands down within a moment, until its agent goes on.", async () => {
  const lab = cloud();
  await settleMoves(lab, ROUTING);
  const { victim } = await chooseVictim();
  const agent = await lab.process(victim, "agent");
  agent.kill("SIGSTOP");
  await lab.cutLinks(victim, { management: true });
  await until("its slots have other owners", async () => (await ownersOf(lab))[victim] === undefined);
  const report = await probing({ tcp: 0 }, async () => {
    await lab.restoreLinks(victim);
    await nothingFor(4);
    agent.kill("SIGCONT");
    await untilBalanced(lab);
    await nothingFor(2);
  });
  assertOnlyAMoment(report);
});

leavesNothing(cloud);
