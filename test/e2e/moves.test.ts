/** Slots move while traffic flows: planned moves lose nothing, and a dead owner is steered around by the nodes themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configsApplied, natto, nodesReady } from "../../src/demo/cloud.ts";
import {
  assertNothingLost,
  counterGrows,
  counters,
  gatewayYaml,
  hostsOf,
  killHard,
  leavesNothing,
  nodeFolders,
  nothingFor,
  PATIENCE_MS,
  pinnedEntries,
  restart,
  serverAnswers,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";
import { finishMoves, ownersOf, phasesOf, untilApplied } from "./slot-moves.ts";
import { NEXT, OTHER_SESSIONS, replaceAgent, useVersions } from "./versions.ts";

const JOINER = "node4";
const DRAINED = "node2";
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

const installed = useVersions();

test("A node joins, another is drained and comes back: no packet of any flow is lost in either direction, and no flow changes its outside port.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const report = await whileProbing(lab, LOAD, async () => {
    assert.equal((await ownersOf(lab))[JOINER], undefined);
    await natto(lab, ["undrain", JOINER]);
    await until("the joining node has its share", async () => ((await ownersOf(lab))[JOINER] ?? 0) >= 15);
    await untilApplied(lab);
    await nothingFor(1);

    await natto(lab, ["drain", DRAINED]);
    await until("the drained node owns nothing", async () => (await ownersOf(lab))[DRAINED] === undefined);
    await untilApplied(lab);
    await nothingFor(2);
    assert((await phasesOf(lab)).shared, "the flows that it has keep the moves open");

    await natto(lab, ["undrain", DRAINED]);
    await until("it has its share again", async () => ((await ownersOf(lab))[DRAINED] ?? 0) >= 15);
    await untilApplied(lab);
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
  await untilApplied(lab);
  const report = await whileProbing(lab, LOAD, () => nothingFor(2));
  assertNothingLost(report);
  assert(!report.flows.some(({ path }) => path.owner === DRAINED));
  await natto(lab, ["undrain", DRAINED]);
  await until("it has its share again", async () => ((await ownersOf(lab))[DRAINED] ?? 0) >= 15);
  await untilApplied(lab);
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

test("Every node is upgraded to a version with other maps of the configuration: it takes the sessions over, and nothing is lost.", async () => {
  const lab = cloud();
  const nodes = hostsOf(lab, "node");
  const next = installed(NEXT);
  const before = [...pinnedEntries(lab, nodes[0] ?? "", "sources").values()];
  await finishMoves(lab);
  const report = await whileProbing(lab, LOAD, async () => {
    for (const node of nodes) await replaceAgent(lab, node, next, NEXT);
    await untilApplied(lab);
    await nothingFor(1);
  });
  assertNothingLost(report);

  const { pins } = nodeFolders(lab, DRAINED);
  const refused = await lab.exec(DRAINED, [
    installed(OTHER_SESSIONS),
    ...["agent", "--check", "--pin-folder", pins, "--max-sessions", "65536"],
  ]);
  assert.equal(refused.code, 8);
  assert.match(refused.stderr, /map 'records' .*it lacks '__u32 record\.added at 0'.*'natto drain' the node/);

  const after = [...pinnedEntries(lab, nodes[0] ?? "", "sources").values()];
  assert((after[0]?.length ?? 0) > (before[0]?.length ?? 0), "the program is another");
  // What they make of a configuration, and sessions that begin under them, work as well.
  assertNothingLost(await whileProbing(lab, LOAD, () => nothingFor(1)));
});

leavesNothing(cloud);
