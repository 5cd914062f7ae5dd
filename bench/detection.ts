/**
 * How long the fabric goes on sending to a node that falls silent while its cables keep their carrier, as when it freezes: from the moment at which
 * the routers get nothing from it any more until both have taken it out of their routes, by the kernel's own account. A lab with BGP, and
 * BFD as declared by default. Run as root with `node bench/detection.ts [ROUNDS]`.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Lab } from "../src/lab/lab.ts";
import type { LabProcess } from "../src/lab/lab-process.ts";
import { upBenchCloud } from "./lab-cloud.ts";
import { formatSummary, summarize } from "./statistics.ts";

const VICTIM = "node2";
const ROUTERS = ["fabric-in", "fabric-out"];
const DEADLINE_MS = 20_000;
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

const rounds = Number(process.argv[2] ?? "20");
const { lab, settled } = await upBenchCloud("detect", { nodes: 3, endpoints: 1 });
await using _ = lab;
const watches = await Promise.all(ROUTERS.map((router) => watchRoutes(lab, router)));
const samples: number[] = [];
for (let round = 0; round < rounds; round++) {
  samples.push(await onceSilent(lab, watches));
  for (const router of ROUTERS) await lab.exec(router, ["nft", "delete", "table", "ip", "silence"]);
  await settled();
}
console.log(`a silent node is out of both routers' routes after (BFD as by default, ${rounds} rounds):`);
console.log(`  ${formatSummary(summarize(samples))} ms`);
