/**
 * How long the endpoints of a node that loses its power go without new connections: each tries fifty a second, and one of four nodes after the
 * other dies without warning and comes back. From the moment of the loss until an endpoint's first new flow that is answered again.
 * Also how many packets had to be steered meanwhile. Run as root with `node bench/power-off.ts [ROUNDS]`.
 */
import { setTimeout as delay } from "node:timers/promises";
import { tableLines } from "../src/cli/table.ts";
import { listObjects } from "../src/demo/cloud.ts";
import { powerOff, startProbing } from "../src/demo/power-off.ts";
import type { Lab } from "../src/lab/lab.ts";
import { readProcess } from "../src/lab/run-folder.ts";
import { upBenchCloud } from "./lab-cloud.ts";
import { formatSummary, summarize } from "./statistics.ts";

const FRESH = 50;
/** For the loss to be noticed, and served around. */
const AFTERWARDS_MS = 2_000;

/** Packets that entered at nodes that do not own them, and all that were translated, as all nodes last reported. */
async function steered(lab: Lab): Promise<{ readonly steered: number; readonly translated: number }> {
  const counters = (await listObjects(lab, "GatewayNode")).map((node) => node.status?.counters ?? {});
  const sum = (...names: readonly string[]) =>
    counters.reduce((all, of) => all + names.reduce((n, name) => n + (of[name] ?? 0), 0), 0);
  return {
    steered: sum("steered_out", "steered_in"),
    translated: sum("translated_out", "translated_in"),
  };
}

const rounds = Number(process.argv[2] ?? "20");
const { lab, nodes, endpoints, settled } = await upBenchCloud("poweroff", { nodes: 4, endpoints: 8 });
await using _ = lab;
const own: number[] = [];
const others: number[] = [];
for (let round = 0; round < rounds; round++) {
  const victim = nodes[round % nodes.length]!;
  const probing = await startProbing(lab, { endpoints, server: "server1", flows: 1, rate: 5, fresh: FRESH });
  await delay(500);
  const lostAt = Date.now();
  await powerOff(lab, victim);
  await delay(AFTERWARDS_MS);
  const { flows, fresh } = await probing.stop();
  for (const { host, path } of flows) {
    const gap = fresh.get(host)?.longestGap;
    const ms = gap && gap.to > lostAt ? gap.to - Math.max(gap.from, lostAt) : 0;
    (path.owner === victim ? own : others).push(ms);
  }
  await lab.restoreLinks(victim);
  const agent = await readProcess(lab.folder, victim, "agent");
  await lab.spawn(victim, agent!.command, { name: "agent" });
  await settled();
}
const share = await steered(lab);
const rows = [
  [`after a power-off (${rounds} rounds, ${FRESH} new flows a second and endpoint)`, "ms: median (min–max)"],
  [`endpoints of the dead node: until served again (${own.length})`, formatSummary(summarize(own))],
  [`endpoints of other nodes: longest wait between two (${others.length})`, formatSummary(summarize(others))],
];
console.log(tableLines(rows).join("\n"));
console.log(
  `steered: ${((100 * share.steered) / share.translated).toFixed(1)} % of ${share.translated} packets, over ${nodes.length} nodes`,
);
