/**
 * How long the fabric goes on sending to a node that falls silent while its cables keep their carrier, as when it freezes: from the moment at which
 * the routers get nothing from it any more until both have taken it out of their routes, by the kernel's own account. A lab with BGP, and
 * BFD as declared by default. Run as root with `node bench/detection.ts [ROUNDS]`.
 */
import { setTimeout as delay } from "node:timers/promises";
import { gatewayReady, natto, nodesReady, spreadOverNodes } from "../src/demo/cloud.ts";
import { CELL_ROUTING } from "../src/lab/bgp.ts";
import { natCloud } from "../src/lab/clouds.ts";
import { type Lab, upLab } from "../src/lab/lab.ts";
import { freshLabName } from "../src/lab/lab-name.ts";
import type { LabProcess } from "../src/lab/lab-process.ts";
import { formatSummary, summarize } from "./statistics.ts";

const VICTIM = "node2";
const ROUTERS = ["fabric-in", "fabric-out"];
const DEADLINE_MS = 20_000;
const API = "natto.dev/v1alpha1";
const OBJECTS = [
  { apiVersion: API, kind: "Cell", metadata: { name: "main" }, spec: { routing: CELL_ROUTING } },
  { apiVersion: API, kind: "AddressPool", metadata: { name: "public" }, spec: { cidrs: ["203.0.113.0/28"] } },
  {
    apiVersion: API,
    kind: "NatGateway",
    metadata: { name: "web", namespace: "team-a" },
    spec: { cell: "main", sources: ["10.0.0.0/24"], addresses: { pool: "public" } },
  },
];
const SILENCE = `table ip silence {
  chain everything {
    type filter hook prerouting priority -400;
    iifname "${VICTIM}" drop;
  }
}
`;

/** The routes of a router as they change: `ip` gives each change the time of the day. */
async function watchRoutes(lab: Lab, router: string): Promise<LabProcess> {
  const argv = ["ip", "-ts", "monitor", "route"];
  return lab.spawn(router, argv, { name: "routes", env: { TZ: "UTC" } });
}

/** Epoch ms at which the router's shared route first had only the two other nodes, after a time; undefined while it did not. */
async function takenOutAt(watch: LabProcess, after: number): Promise<number | undefined> {
  const blocks = (await watch.stdout()).split(/^\[/m).slice(1);
  for (const block of blocks) {
    const at = Date.parse(`${block.slice(0, block.indexOf("]")).slice(0, 23)}Z`);
    const hops = new Set([...block.matchAll(/ dev (node\d+)/g)].map((match) => match[1]));
    if (at >= after && /^\S+ (default|203)/.test(block) && hops.size === 2 && !hops.has(VICTIM)) return at;
  }
  return undefined;
}

async function onceSilent(lab: Lab, watches: readonly LabProcess[]): Promise<number> {
  const begun = Date.now();
  const silence = (router: string) => lab.exec(router, ["nft", "-f", "-"], { input: SILENCE });
  await Promise.all(ROUTERS.map(silence));
  const deadline = begun + DEADLINE_MS;
  for (;;) {
    const times = await Promise.all(watches.map((watch) => takenOutAt(watch, begun)));
    const known = times.filter((at) => at !== undefined);
    if (known.length === watches.length) return Math.max(...known) - begun;
    if (Date.now() > deadline) throw new Error(`not taken out within ${DEADLINE_MS} ms`);
    await delay(20);
  }
}

async function comeBack(lab: Lab, addresses: readonly string[]): Promise<void> {
  for (const router of ROUTERS) await lab.exec(router, ["nft", "delete", "table", "ip", "silence"]);
  await spreadOverNodes(lab, addresses, DEADLINE_MS);
}

const rounds = Number(process.argv[2] ?? "10");
await using lab = await upLab(natCloud({ name: freshLabName("detect"), endpoints: 1, routing: "bgp" }));
for (const object of OBJECTS) await natto(lab, ["apply", "-f", "-"], JSON.stringify(object));
await nodesReady(lab, 3);
const { status } = await gatewayReady(lab, "web");
const addresses = status?.addresses ?? [];
await spreadOverNodes(lab, addresses);
const watches = await Promise.all(ROUTERS.map((router) => watchRoutes(lab, router)));
const samples: number[] = [];
for (let round = 0; round < rounds; round++) {
  samples.push(await onceSilent(lab, watches));
  await comeBack(lab, addresses);
}
console.log(`a silent node is out of both routers' routes after (BFD 100 ms x 3, ${rounds} rounds):`);
console.log(`  ${formatSummary(summarize(samples))} ms`);
