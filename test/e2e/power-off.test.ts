/**
 * A node of four dies without warning, under more than 300 flows of numbered packets: only its own flows break, those that crossed it lose what
 * was on its way, and when it comes back nobody loses anything. With the control plane, and without it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { listObjects } from "../../src/demo/cloud.ts";
import { type ProbeOptions, type ProbeReport, powerOff, summarizeLosses } from "../../src/demo/power-off.ts";
import { CELL_ROUTING } from "../../src/lab/bgp.ts";
import {
  assertNothingLost,
  gatewayYaml,
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
import { ownersOf, settleMoves, untilApplied, untilBalanced } from "./slot-moves.ts";

const VICTIM = "node2";
const SURVIVORS = ["node1", "node3", "node4"];
const RATE = 10;
/** Of each of ten endpoints: more than 300 in all. */
const LOAD = { flows: 32, tcp: 2, rate: RATE, fresh: 10 };
const ROUTING = { routing: CELL_ROUTING };
/** Packets of a flow in the 300 ms that BFD may take to find out, and one that was on its way. */
const UNNOTICED = 0.3 * RATE + 1;

const cloud = useCloud("poweroff", {
  nodes: 4,
  endpoints: 10,
  routing: "bgp",
  // New flows are many, and each holds a port for so long.
  gateways: [{ name: "web", yaml: gatewayYaml("web", "10.0.0.0/24", 1, "  timeouts: {udp: 20}\n") }],
});

/** What must hold of all flows whose node died: by whom it concerns, and no others. */
function assertOnlyItsOwn(report: ProbeReport, diagnostic: (text: string) => void): void {
  assert(report.flows.length >= 300);
  const { own, crosses, elsewhere } = summarizeLosses(report.flows, VICTIM);
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
  assert.deepEqual([...new Set(moved.map((flow) => flow.path.owner))], [VICTIM]);
  const hit = new Set(report.flows.filter((f) => f.path.owner === VICTIM).map((f) => f.host));
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

test("When a node dies, its own flows break and no others, and its slots go exactly to their backups.", async (t) => {
  const lab = cloud();
  const before = placedSlots(await placementOf(lab, "web"));
  const report = await probing({ tcp: 0 }, async () => {
    await nothingFor(1);
    await powerOff(lab, VICTIM);
    await until(
      "the slots of the dead node have other owners",
      async () => (await ownersOf(lab))[VICTIM] === undefined,
    );
    await untilApplied(lab, SURVIVORS);
    await nothingFor(1);
  });
  assertOnlyItsOwn(report, (text) => t.diagnostic(text));

  const after = placedSlots(await placementOf(lab, "web"));
  assert.equal(after.size, before.size);
  for (const [slot, { owner, backup }] of before) {
    assert.equal(after.get(slot)?.owner, owner === VICTIM ? backup : owner, slot);
  }
});

test("While the node is dead every endpoint is served without loss, and so it is when the node comes back, booted anew, and is given its share.", async () => {
  const lab = cloud();
  await killEverything(lab, VICTIM);
  await forgetKernel(lab, VICTIM);
  await settleMoves(lab, ROUTING, SURVIVORS);
  const before = placedSlots(await placementOf(lab, "web"));
  const report = await probing({}, async () => {
    await nothingFor(1);
    await lab.restoreLinks(VICTIM);
    await startEverything(lab, VICTIM);
    await untilBalanced(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
  const after = placedSlots(await placementOf(lab, "web"));
  const moved = [...before].filter(([slot, { owner }]) => after.get(slot)?.owner !== owner);
  assert.deepEqual([...new Set(moved.map(([slot]) => after.get(slot)?.owner))], [VICTIM]);
  assert(moved.length <= Math.ceil(before.size / 4));
});

test("With the control plane gone all of it holds: the node dies, is stood in for, and comes back booted anew.", async (t) => {
  const lab = cloud();
  await settleMoves(lab, ROUTING);
  const placements = await listObjects(lab, "Placement");
  await killHard(lab, "control", "server");
  const report = await probing({ placements, tcp: 0 }, async () => {
    await powerOff(lab, VICTIM);
    await until("a survivor's program knows it", async () =>
      [...pinnedEntries(lab, "node1", "dead_nodes").values()].some((until_) => /[^0]/.test(until_)),
    );
    await nothingFor(3);
  });
  assertOnlyItsOwn(report, (text) => t.diagnostic(text));
  await killEverything(lab, VICTIM);
  await forgetKernel(lab, VICTIM);
  const returning = await probing({ placements }, async () => {
    await lab.restoreLinks(VICTIM);
    await startEverything(lab, VICTIM);
    await nothingFor(6);
  });
  assertNothingLost(returning);
  await restart(lab, "control", "server");
  await serverAnswers(lab);
  await untilBalanced(lab);
});

test("A node whose links alone had failed comes back with its old maps and its old sessions, and nobody loses anything.", async () => {
  const lab = cloud();
  await settleMoves(lab, ROUTING);
  await lab.cutLinks(VICTIM, { management: true });
  await until("its slots have other owners", async () => (await ownersOf(lab))[VICTIM] === undefined);
  const report = await probing({}, async () => {
    await lab.restoreLinks(VICTIM);
    await untilBalanced(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
});

test("A node that comes back with old maps while its agent is paused does no harm, nor does the agent that goes on.", async () => {
  const lab = cloud();
  await settleMoves(lab, ROUTING);
  const agent = await lab.process(VICTIM, "agent");
  agent.kill("SIGSTOP");
  await lab.cutLinks(VICTIM, { management: true });
  await until("its slots have other owners", async () => (await ownersOf(lab))[VICTIM] === undefined);
  const report = await probing({}, async () => {
    await lab.restoreLinks(VICTIM);
    await nothingFor(4);
    agent.kill("SIGCONT");
    await untilBalanced(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
});

leavesNothing(cloud);
