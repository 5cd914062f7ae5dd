/** Slots move while traffic flows: planned moves lose nothing, and a dead owner is steered around by the nodes themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configsApplied, listObjects, natto, nodesReady } from "../../src/demo/cloud.ts";
import { lostPackets, powerOff, summarizeLosses } from "../../src/demo/power-off.ts";
import type { Lab } from "../../src/lab/lab.ts";
import {
  assertNothingLost,
  cellAndPool,
  counterGrows,
  counters,
  gatewayYaml,
  hostsOf,
  killHard,
  leavesNothing,
  nothingFor,
  PATIENCE_MS,
  pinnedEntries,
  placementOf,
  restart,
  serverAnswers,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

const JOINER = "node4";
const DRAINED = "node2";
const VICTIM = "node3";
const ENDPOINTS = 10;
/** Of each endpoint: more than 300 in all. */
const LOAD = { flows: 30, tcp: 2, rate: 5, fresh: 5 };

const cloud = useCloud("moves", {
  nodes: 4,
  endpoints: ENDPOINTS,
  // New flows are many, and each holds a port for so long.
  gateways: [{ name: "web", yaml: gatewayYaml("web", "10.0.0.0/24", 1, "  timeouts: {udp: 20}\n") }],
  prepare: async (lab) => {
    await natto(lab, ["drain", JOINER, "--deadline", "1s", "--wait"]);
    await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
  },
});

async function owners(lab: Lab): Promise<Readonly<Record<string, number>>> {
  return (await listObjects(lab, "NatGateway"))[0]?.status?.owners ?? {};
}

/** Phase → how many slots are in it. */
async function phases(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const { spec } = await placementOf(lab, "web");
  const counts: Record<string, number> = {};
  for (const { phase } of spec.addresses.flatMap((placed) => placed.moves ?? [])) {
    counts[phase] = (counts[phase] ?? 0) + 1;
  }
  return counts;
}

/** Ends the moves that are under way, and what begins from now on soon. */
async function finishMoves(lab: Lab): Promise<void> {
  await natto(lab, ["apply", "-f", "-"], cellAndPool({ moves: { deadlineSeconds: 1 } }));
  await until("no slot is in a move", async () => Object.keys(await phases(lab)).length === 0);
  await applied(lab);
}

async function applied(lab: Lab): Promise<void> {
  await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
}

test("A node joins, another is drained and comes back: no packet of any flow is lost in either direction, and no flow changes its outside port.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const report = await whileProbing(lab, LOAD, async () => {
    assert.equal((await owners(lab))[JOINER], undefined);
    await natto(lab, ["undrain", JOINER]);
    await until("the joining node has its share", async () => ((await owners(lab))[JOINER] ?? 0) >= 15);
    await applied(lab);
    await nothingFor(1);

    await natto(lab, ["drain", DRAINED]);
    await until("the drained node owns nothing", async () => (await owners(lab))[DRAINED] === undefined);
    await applied(lab);
    await nothingFor(2);
    assert((await phases(lab)).shared, "the flows that it has keep the moves open");

    await natto(lab, ["undrain", DRAINED]);
    await until("it has its share again", async () => ((await owners(lab))[DRAINED] ?? 0) >= 15);
    await applied(lab);
    await nothingFor(2);
  });
  assert(report.flows.length >= 300);
  assertNothingLost(report);
  await counterGrows(lab, before, "passed_on", 1);
});

test("A drain with a deadline ends: the ports change hands, nothing is left on the node, and everybody is served by the others.", async () => {
  const lab = cloud();
  await finishMoves(lab);
  const told = await natto(lab, ["drain", DRAINED, "--deadline", "2s", "--wait"]);
  assert.match(told, /drained: nothing is left on it/);
  await applied(lab);
  const report = await whileProbing(lab, LOAD, () => nothingFor(2));
  assertNothingLost(report);
  assert(!report.flows.some(({ path }) => path.owner === DRAINED));
  await natto(lab, ["undrain", DRAINED]);
  await until("it has its share again", async () => ((await owners(lab))[DRAINED] ?? 0) >= 15);
  await applied(lab);
});

test("Every process is restarted, one after the other, and every node takes its maps over: nothing is lost.", async () => {
  const lab = cloud();
  // Flows that begin while a move's short deadline runs would be cut when it passes.
  await finishMoves(lab);
  const report = await whileProbing(lab, LOAD, async () => {
    for (const node of hostsOf(lab, "node")) {
      await killHard(lab, node, "agent");
      await restart(lab, node, "agent");
      await nodesReady(lab, hostsOf(lab, "node").length, PATIENCE_MS);
    }
    await killHard(lab, "control", "server");
    await restart(lab, "control", "server");
    await serverAnswers(lab);
    await nothingFor(1);
  });
  assertNothingLost(report);
});

test("With the control plane gone a node loses its power: others' flows go on, and its endpoints are served by the backups within a moment.", async () => {
  const lab = cloud();
  await finishMoves(lab);
  const report = await whileProbing(lab, { ...LOAD, tcp: 0, fresh: 10 }, async () => {
    await killHard(lab, "control", "server");
    await powerOff(lab, VICTIM);
    await until("a survivor's program knows it", async () =>
      [...pinnedEntries(lab, "node1", "dead_nodes").values()].some((until_) => /[^0]/.test(until_)),
    );
    await nothingFor(3);
  });
  const { own, crosses, elsewhere } = summarizeLosses(report.flows, VICTIM);
  assert(own.flows > 0 && crosses.flows > 0 && elsewhere.flows > 0, "there are flows of all three kinds");
  // A machine that is busy may lose a packet in a socket's buffer; a flow that the loss touched would lose many.
  assert(elsewhere.mostLost <= 1, `a flow elsewhere lost ${elsewhere.mostLost} packets`);
  assert.equal(elsewhere.moved + crosses.moved, 0, "flows of other nodes keep their outside ports");
  // Those that were sent through the dead node until the fabric and the nodes had noticed: a second's worth, with room for a busy machine.
  assert(
    crosses.mostLost <= 2 * LOAD.rate,
    `a flow that crossed the dead node lost ${crosses.mostLost} packets`,
  );
  const served = report.flows.filter(({ path, report: r }) => path.owner === VICTIM && r.outside.length > 1);
  assert(served.length > 0, "the dead node's flows begin anew with the backups");
  for (const [host, ms] of report.freshGaps) assert(ms < 5_000, `${host} was not served for ${ms} ms`);
  assert(report.flows.some(({ path, report: r }) => path.owner !== VICTIM && lostPackets(r) === 0));
});

leavesNothing(cloud);
