/**
 * Under traffic and continuous declared changes, things break at random; then everything is mended, and what should hold is checked:
 * nothing acknowledged was lost, the fleet does what is declared, every packet that should have got through did, no address:port had two
 * holders, and nothing ever left un-translated. `NATTO_CHAOS_SECONDS` says for how long, `NATTO_CHAOS_SEED` repeats a run's schedule.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { configsApplied, gatewayReady, listObjects, natto, nodesReady } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { ProbeReport } from "../../src/demo/power-off.ts";
import { CLUSTER_STORE_URL } from "../../src/lab/clusters.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { readProcess } from "../../src/lab/run-folder.ts";
import { parseLines } from "../../src/lab/traffic/json-lines.ts";
import { serverFlows } from "../../src/lab/traffic/traffic.ts";
import type { Placement } from "../../src/model/placement.ts";
import { outboundSlotOf } from "../../src/model/slots.ts";
import {
  assertNothingLost,
  hostsOf,
  LONG_STORY_GATEWAYS,
  leavesNothing,
  nothingFor,
  PATIENCE_MS,
  placementOf,
  SERVER,
  seenOutside,
  serverAnswers,
  until,
  useCloud,
  watchOutside,
  whileProbing,
} from "../e2e/fixture.ts";
import { checkHistory, type Operation } from "./declared-history.ts";
import { CHAOS_NAMESPACE, timeoutOf } from "./declarer.ts";
import { inflict, targetsIn, undo } from "./inflict.ts";
import { seededRandom } from "./random.ts";
import { drawSchedule, type Fault, faultText, isNodeFault } from "./schedule.ts";
import {
  type Allowance,
  checkHolders,
  checkLosses,
  type Holders,
  type Losses,
  type NodeOutage,
} from "./traffic-check.ts";

const SECONDS = Number(process.env.NATTO_CHAOS_SECONDS ?? 40);
const SEED = Number(process.env.NATTO_CHAOS_SEED ?? Date.now() % 1_000_000);
const STANDBY = "store2";
const OBJECTS = 4;
const RATE = 10;

/** Generous where other work on the machine makes Natto late; a loss at any other time is a violation. */
const ALLOWANCE: Allowance = { crossing: 2_000, own: 12_000, returning: 6_000, inexactness: 500 };

const cloud = useCloud("chaos", {
  gateways: LONG_STORY_GATEWAYS,
  nodes: 4,
  endpoints: 6,
  routing: "bgp",
  control: "clusters",
  prepare: async (lab) => {
    await watchOutside(lab);
    await startStandby(lab);
  },
});

/** A second server with a controller: whatever is killed, another goes on. */
async function startStandby(lab: Lab): Promise<void> {
  const first = await readProcess(lab.folder, "control", "server");
  assert(first);
  await lab.spawn(STANDBY, first.command, { name: "server" });
}

/** Which nodes hold flows of each endpoint, as last read: while nobody answers nothing moves. Tells what changes. */
function watchHolders(lab: Lab): AsyncDisposable & { holders(): Holders } {
  let holders: Holders = new Map();
  const stopping = new AbortController();
  const look = async (): Promise<void> => {
    const placement = await placementOf(lab, "web").catch(() => undefined);
    if (!placement) return;
    const before = holders;
    holders = new Map(hostsOf(lab, "endpoint").flatMap((host) => holdersOf(lab, host, placement)));
    for (const [host, nodes] of holders) {
      const text = nodes.join(", ");
      if (text !== before.get(host)?.join(", ")) say(`flows of ${host} are held by ${text}`);
    }
  };
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      await look();
      await delay(1_000, undefined, { signal: stopping.signal }).catch(() => {});
    }
  })();
  return {
    holders: () => holders,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await watching;
    },
  };
}

function say(text: string): void {
  console.log(`  ${new Date().toISOString().slice(11, 19)} ${text}`);
}

/** The owner of the endpoint's slot, and the previous one while the slot moves. */
function holdersOf(lab: Lab, host: string, placement: Placement): [string, readonly string[]][] {
  const { addresses, nodes, portsPerSlot } = placement.spec;
  const texts = addresses.map((placed) => placed.address);
  const { addressIndex, slot } = outboundSlotOf(hostAddress(lab, host), texts, portsPerSlot);
  const placed = addresses[addressIndex];
  const move = placed?.moves?.find((m) => m.slot === slot);
  const holders = [placed?.owners[slot], move?.from].flatMap((index) => nodes[index ?? -1] ?? []);
  return holders.length === 0 ? [] : [[host, holders]];
}

/** Plays the schedule to its end; returns when nodes were away. A fault that cannot be inflicted or undone fails the run, when the rest is done. */
async function play(
  lab: Lab,
  faults: readonly Fault[],
  holders: () => Holders,
): Promise<readonly NodeOutage[]> {
  const start = performance.now();
  const outages: NodeOutage[] = [];
  const wait = (ms: number) => delay(Math.max(0, start + ms - performance.now()));
  const played = await Promise.allSettled(
    faults.map(async (fault) => {
      await wait(fault.at);
      say(`after ${faultText(fault)}`);
      const known = holders();
      const from = Date.now();
      await inflict(lab, fault);
      await wait(fault.until);
      const until = Date.now();
      await undo(lab, fault);
      if (isNodeFault(fault)) outages.push({ node: fault.host, from, until, holders: known });
    }),
  );
  assert.deepEqual(
    played.flatMap((outcome) => (outcome.status === "rejected" ? [String(outcome.reason)] : [])),
    [],
  );
  return outages;
}

function lossesOf(report: ProbeReport): readonly Losses[] {
  return [
    ...report.flows.map(({ host, report: { flow, lostAt } }) => ({
      endpoint: host,
      flow: `UDP flow ${flow}`,
      lostAt,
    })),
    ...[...report.fresh].map(([endpoint, { lostAt }]) => ({ endpoint, flow: "new flows", lostAt })),
  ];
}

async function startDeclarer(lab: Lab): Promise<{ stop(): Promise<readonly Operation[]> }> {
  const program = join(import.meta.dirname, "declarer.ts");
  const argv = [
    "node",
    program,
    "--store",
    CLUSTER_STORE_URL,
    "--objects",
    String(OBJECTS),
    "--seed",
    String(SEED),
  ];
  const declarer = await lab.spawn("control", argv, { name: "declarer" });
  await until("the declarer has started", async () => (await declarer.stdout()).includes("started"));
  return {
    stop: async () => {
      declarer.kill("SIGTERM");
      await declarer.exited();
      const output = await declarer.stdout();
      assert(output.includes('"ended"'), await declarer.stderr());
      const lines = parseLines<{ readonly event: string } & Operation>(output);
      return lines.filter((line) => line.event === "operation");
    },
  };
}

async function finalReads(lab: Lab): Promise<readonly Operation[]> {
  const found = (await listObjects(lab, "NatGateway")).filter(
    (g) => g.metadata.namespace === CHAOS_NAMESPACE,
  );
  return Array.from({ length: OBJECTS }, (_, i) => {
    const stored = found.find((g) => g.metadata.name === `g${i}`);
    return { type: "read", object: `g${i}`, value: timeoutOf(stored), at: Date.now() };
  });
}

/** Every gateway that is declared is ready, every node is ready and does what its configuration of now says. */
async function converged(lab: Lab): Promise<void> {
  const nodes = hostsOf(lab, "node");
  await serverAnswers(lab);
  await nodesReady(lab, nodes.length, PATIENCE_MS);
  for (const { metadata } of await listObjects(lab, "NatGateway"))
    await gatewayReady(lab, metadata.name, PATIENCE_MS);
  await configsApplied(lab, nodes, PATIENCE_MS);
}

test(`Things break for ${SECONDS} s by the schedule of seed ${SEED}, and nothing is lost that should not be.`, async () => {
  const lab = cloud();
  const faults = drawSchedule(seededRandom(SEED), await targetsIn(lab), SECONDS * 1_000);
  assert(faults.length > 0);
  await using watching = watchHolders(lab);
  await until(
    "the owners are known",
    async () => watching.holders().size === hostsOf(lab, "endpoint").length,
  );
  const declarer = await startDeclarer(lab);
  let outages: readonly NodeOutage[] = [];
  let history: readonly Operation[] = [];
  const report = await whileProbing(lab, { flows: 6, tcp: 2, rate: RATE, fresh: 5 }, async () => {
    outages = await play(lab, faults, watching.holders);
    history = await declarer.stop();
    await converged(lab);
    await nothingFor(1);
  });

  assert(history.some((operation) => operation.type === "write" && operation.outcome === "acknowledged"));
  assert.deepEqual(checkHistory([...history, ...(await finalReads(lab))]), []);
  assert.deepEqual(checkLosses(lossesOf(report), outages, ALLOWANCE), []);
  const flows = await serverFlows(lab, SERVER);
  const spans = flows.flatMap((f) =>
    f.spans.map((span) => ({ holder: `flow ${f.flow} of run ${f.run}`, ...span })),
  );
  assert(spans.length > 0);
  assert.deepEqual(checkHolders(spans), []);
  const { untranslated, translated } = await seenOutside(lab);
  assert(translated > 0);
  assert.equal(untranslated, 0);
});

test("After it, the fleet carries old and new flows without any loss.", async () => {
  assertNothingLost(await whileProbing(cloud(), {}, () => nothingFor(2)));
  await natto(cloud(), ["get", "nodes"]);
});

leavesNothing(cloud);
