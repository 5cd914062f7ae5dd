/**
 * `make demo`: a small cloud whose endpoints reach the outside through three active NAT nodes that share one public address, and what
 * happens when one of the nodes dies. Exits with 1 if anything did not hold. `--hold` leaves the cloud running;
 * `--clusters` puts a real etcd and a real Consul into it.
 */
import { join } from "node:path";
import { tableLines } from "../cli/table.ts";
import { asNattoError, describeError } from "../errors.ts";
import { natCloud } from "../lab/clouds.ts";
import { type Lab, upLab } from "../lab/lab.ts";
import { eventually, gatewayReady, listObjects, natto, nodesReady, spreadOverNodes } from "./cloud.ts";
import type { Involvement } from "./flow-paths.ts";
import { transferAll } from "./http-check.ts";
import { choosePorts, WAYS, type Way, wayOf } from "./port-choice.ts";
import {
  type LossSummary,
  lostPackets,
  type ProbedFlow,
  type ProbeReport,
  powerOff,
  startProbing,
  summarizeLosses,
} from "./power-off.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples");
const LAB_FILE = join(EXAMPLES, "lab.yaml");
const CELL_FILE = join(EXAMPLES, "nat/cell.yaml");
const BGP_FILE = join(EXAMPLES, "bgp/cell.yaml");
const GATEWAY_FILE = join(EXAMPLES, "nat/gateway.yaml");
const GATEWAY = "web";
const SERVER = "server1";
const VICTIM = "node2";
const BODY_BYTES = 10_000_000;
const PROBES = { flows: 8, rate: 20, fresh: 10 };

interface Check {
  readonly what: string;
  readonly found: string;
  readonly holds: boolean;
}

const started = performance.now();
const say = (text: string) => console.log(text);
const step = (title: string) =>
  say(`\n[${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s] ${title}`);
const indent = (text: string) => text.trimEnd().replace(/^/gm, "    ");
const hostsOf = (lab: Lab, role: string) =>
  lab.topology.hosts.filter((h) => h.role === role).map((h) => h.name);
const milliseconds = (ms: number) => `${Math.round(ms)} ms`;

function count<T>(items: readonly T[], key: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

async function declare(lab: Lab): Promise<void> {
  step("The network team declares a cell and public addresses: natto apply -f examples/nat/cell.yaml");
  say(indent(await natto(lab, ["apply", "-f", CELL_FILE])));
  step("The nodes are to announce themselves to the fabric by BGP: natto apply -f examples/bgp/cell.yaml");
  say(indent(await natto(lab, ["apply", "-f", BGP_FILE])));
  step("Three nodes have registered themselves; nobody told them anything but where the API is.");
  await nodesReady(lab, hostsOf(lab, "node").length);
  step("A tenant declares a NAT gateway: natto apply -f examples/nat/gateway.yaml");
  say(indent(await natto(lab, ["apply", "-f", GATEWAY_FILE])));
  const { status } = await gatewayReady(lab, GATEWAY);
  await spreadOverNodes(lab, status?.addresses ?? []);
  say(indent(await natto(lab, ["get", "gateways", "-A", "-o", "wide"])));
  say(indent(await natto(lab, ["get", "nodes"])));
}

async function browse(lab: Lab): Promise<Check[]> {
  const endpoints = hostsOf(lab, "endpoint");
  step(`Each of the ${endpoints.length} endpoints fetches two bodies of 10 MB from a web server outside:`);
  say(
    "    over a connection that the fabric brings to its owner, and over one that other nodes have to steer to it.",
  );
  const [placement] = await listObjects(lab, "Placement");
  const choices = await choosePorts(lab, placement!, endpoints, SERVER);
  const downloads = await transferAll(lab, choices, { server: SERVER, bytes: BODY_BYTES });
  const owners = count(downloads, (d) => d.path.owner);
  const rows = hostsOf(lab, "node").map((node) => {
    const own = downloads.filter((d) => d.path.owner === node);
    return [node, ...WAYS.map((way) => String(own.filter((d) => wayOf(d.path) === way).length))];
  });
  say(indent(tableLines([["OWNER", "DIRECT", "STEERED"], ...rows]).join("\n")));
  const intact = (way: Way) =>
    downloads.filter((d) => wayOf(d.path) === way && d.intact && d.bytes === BODY_BYTES).length;
  return [
    {
      what: "10 MB bodies arrive intact",
      found: `${intact("direct")} of ${endpoints.length} direct, ${intact("steered")} of ${endpoints.length} steered`,
      holds: WAYS.every((way) => intact(way) === endpoints.length),
    },
    {
      what: "every node carries flows",
      found: [...owners]
        .sort()
        .map(([node, n]) => `${node} ${n}`)
        .join(", "),
      holds: owners.size === hostsOf(lab, "node").length,
    },
    {
      what: "outside ports lie in the owner's slots",
      found: `${downloads.filter((d) => d.inOwnSlot).length} of ${downloads.length}`,
      holds: downloads.every((d) => d.inOwnSlot),
    },
  ];
}

const NAMES: Readonly<Record<Involvement, string>> = {
  own: `owned by ${VICTIM}`,
  crosses: `steered by ${VICTIM}`,
  elsewhere: "all others",
};

function lossTable(summary: Readonly<Record<Involvement, LossSummary>>): string {
  const rows = (Object.keys(NAMES) as Involvement[]).map((kind) => {
    const s = summary[kind];
    return [
      NAMES[kind],
      ...[s.flows, s.touched, s.sent, s.lost, s.mostLost].map(String),
      milliseconds(s.longestGapMs),
    ];
  });
  return tableLines([
    ["FLOWS", "NUMBER", "TOUCHED", "SENT", "LOST", "MOST OF A FLOW", "LONGEST GAP"],
    ...rows,
  ]).join("\n");
}

/** Endpoints whose flows the victim owned: how long their new flows were not answered. */
function outageOf(report: ProbeReport): number {
  const hit = new Set(report.flows.filter((f: ProbedFlow) => f.path.owner === VICTIM).map((f) => f.host));
  return Math.max(0, ...[...report.freshGaps].filter(([host]) => hit.has(host)).map(([, ms]) => ms));
}

async function loseANode(lab: Lab): Promise<Check[]> {
  const endpoints = hostsOf(lab, "endpoint");
  const { flows, rate } = PROBES;
  step(
    `Every endpoint sends numbered packets over ${flows} flows, ${rate} a second each, to an echo server outside.`,
  );
  const probing = await startProbing(lab, { endpoints, server: SERVER, ...PROBES });
  const owned = count(probing.paths, (path) => path.owner);
  say(
    indent(
      `flows by owner: ${[...owned]
        .sort()
        .map(([node, n]) => `${node} ${n}`)
        .join(", ")}`,
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, 2000));
  step(`${VICTIM} loses its power: links cut, agent killed, no warning.`);
  await powerOff(lab, VICTIM);
  await eventually(`the slots of ${VICTIM} have other owners`, 30_000, async () => {
    const gateways = await listObjects(lab, "NatGateway");
    return gateways.every((g) => g.status?.owners[VICTIM] === undefined) || undefined;
  });
  step("The controller has given its slots to the next in line.");
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const report = await probing.stop();
  const summary = summarizeLosses(report.flows, VICTIM);
  say(indent(lossTable(summary)));
  const { own, crosses, elsewhere } = summary;
  return [
    {
      what: "flows of other nodes that do not cross the dead one lose nothing",
      found: `${elsewhere.lost} of ${elsewhere.sent} packets`,
      holds: elsewhere.flows > 0 && elsewhere.lost === 0 && elsewhere.moved === 0,
    },
    {
      what: "flows that crossed it go on, with the same outside port",
      found: `${crosses.lost} of ${crosses.sent} packets lost, ${crosses.moved} broken`,
      holds: crosses.flows > 0 && crosses.moved === 0 && crosses.mostLost <= PROBES.rate,
    },
    {
      what: "only its own flows broke",
      found: `${own.touched} of ${report.flows.length} flows`,
      holds:
        own.flows > 0 &&
        own.touched === own.flows &&
        report.flows.filter((f) => lostPackets(f.report) > PROBES.rate).every((f) => f.path.owner === VICTIM),
    },
    {
      what: "all endpoints are served again",
      found: `after ${(outageOf(report) / 1000).toFixed(1)} s`,
      holds: outageOf(report) > 0 && outageOf(report) < 10_000,
    },
  ];
}

function conclude(checks: readonly Check[]): number {
  step("What held:");
  const rows = checks.map((c) => [c.holds ? "yes" : "NO", c.what, c.found]);
  say(indent(tableLines(rows).join("\n")));
  return checks.every((c) => c.holds) ? 0 : 1;
}

function explainHold(): void {
  say(`
The cloud is still up (${VICTIM} is dead). Some things to try:
    bin/natto lab status
    bin/natto lab exec ep1 -- curl -s http://198.51.100.11/whoami
    bin/natto lab exec control -- natto describe gateway ${GATEWAY} -n team-a
    bin/natto lab exec control -- natto whois 10.0.0.11
    bin/natto lab exec control -- natto describe node node1
    bin/natto lab down demo`);
}

async function main(): Promise<number> {
  const hold = process.argv.includes("--hold");
  const clusters = process.argv.includes("--clusters");
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort(new Error("interrupted")));
  process.once("SIGTERM", () => interrupt.abort(new Error("terminated")));
  say(
    "A cloud in network namespaces: 3 NAT nodes between two routers, 12 endpoints inside, a web server outside (examples/lab.yaml).",
  );
  if (clusters) {
    say(
      "What is declared is kept in etcd, and Consul knows who is alive: three members of each, on hosts store1 to store3.",
    );
  }
  const source = clusters ? natCloud({ name: "demo", routing: "bgp", control: "clusters" }) : LAB_FILE;
  const lab = await upLab(source, { signal: interrupt.signal });
  const work = (async () => {
    await declare(lab);
    return [...(await browse(lab)), ...(await loseANode(lab))];
  })();
  const interrupted = new Promise<never>((_, reject) => {
    interrupt.signal.addEventListener("abort", () => reject(interrupt.signal.reason));
  });
  try {
    const code = conclude(await Promise.race([work, interrupted]));
    if (hold) explainHold();
    return code;
  } finally {
    work.catch(() => {});
    if (!hold) {
      await lab.down();
      step("The cloud is gone.");
    }
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`demo: ${describeError(asNattoError(error))}`);
  process.exitCode = 1;
}
process.exit();
