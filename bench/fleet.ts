/**
 * A fleet on a real cluster of etcd on this machine: simulated agents (the real store driver and watch, no dataplane) in cells of ten nodes with a
 * hundred gateways each, and the real controller. How long one change takes to its nodes, and a loss to all that it concerns; what each part
 * costs. Run with `node bench/fleet.ts [NODES …]`; default: 10 100 1000.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { tableLines } from "../src/cli/table.ts";
import { formatAddress } from "../src/model/ipv4.ts";
import type { ObjectOf } from "../src/model/kinds.ts";
import { validateObject } from "../src/model/validate.ts";
import { openStore } from "../src/store/open-store.ts";
import { MAX_CHANGES, type Store } from "../src/store/store.ts";
import { type EtcdCluster, startEtcdCluster } from "../src/store/testing/etcd-cluster.ts";
import { type AgentsNews, type AgentsTask, type ControllerTask, wallClock } from "./fleet/messages.ts";
import { formatSummary, summarize } from "./statistics.ts";

const NODES_PER_CELL = 10;
const GATEWAYS_PER_CELL = 100;
const AGENTS_PER_PROCESS = 250;
const CHANGES = 15;
const LOSSES = 5;
const DEADLINE_MS = 300_000;

const sizes = process.argv.slice(2).map(Number);
const rows: string[][] = [];
for (const nodes of sizes.length > 0 ? sizes : [10, 100, 1_000]) rows.push(await measureFleet(nodes));
const header = ["NODES", "GATEWAYS", "PUBLISH ALL", "ONE CHANGE", "WRITES", "ONE LOST", "WRITES"];
header.push("ONE LOST IN EACH CELL", "WRITES", "CONTROLLER", "AN AGENT", "ETCD", "IDLE WRITES/S");
for (const line of tableLines([header, ...rows])) process.stdout.write(`${line}\n`);

/** One line of the table: times in milliseconds, median (least–most); memory in MB; etcd: the largest member. */
async function measureFleet(nodes: number): Promise<string[]> {
  await using running = new AsyncDisposableStack();
  const cluster = await startEtcdCluster({ flags: ["--quota-backend-bytes", "4294967296"] });
  running.defer(() => cluster.close());
  const url = cluster.url("fleet", "?deadlineMs=5000");
  const store = await openStore(url);
  running.defer(() => store.close());
  const fleet = await startFleet(url, nodes, running);
  const cells = nodes / NODES_PER_CELL;
  await declareAll(store, cells);
  const controller = startProcess("controller.ts", running);
  let start = wallClock();
  send(controller, { type: "start", store: url, nodes: fleet.names });
  await fleet.until(fleet.names, start, (gateways) => gateways === GATEWAYS_PER_CELL);
  const publishMs = fleet.last(fleet.names) - start;
  await untilQuiet(store);

  const change = await repeat(store, CHANGES, async (i) => {
    const cell = i % cells;
    start = wallClock();
    await touchGateway(store, cell, i);
    return fleet.wait(nodesOf(cell), start);
  });
  const loss = await repeat(store, LOSSES, (i) => lose(controller, fleet, [`node-${i % cells}-${i}`]));
  const everywhere = await repeat(store, LOSSES, (i) =>
    lose(
      controller,
      fleet,
      Array.from({ length: cells }, (_, cell) => `node-${cell}-${LOSSES + i}`),
    ),
  );
  const before = await revisionOf(store);
  await delay(5_000);
  const idle = ((await revisionOf(store)) - before) / 5;
  return [
    ...[String(nodes), String(cells * GATEWAYS_PER_CELL), publishMs.toFixed(0)],
    ...[...change, ...loss, ...everywhere],
    ...[megabytes(controller.pid), (fleet.megabytes() / nodes).toFixed(2)],
    ...[String(Math.max(...etcdSizes(cluster))), idle.toFixed(1)],
  ];
}

/** Measures so many times, each after the fleet has come to rest; the times, and the revisions that one took. */
async function repeat(
  store: Store,
  times: number,
  act: (i: number) => Promise<number>,
): Promise<readonly string[]> {
  const samples: number[] = [];
  const writes: number[] = [];
  for (let i = 0; i < times; i++) {
    const before = await revisionOf(store);
    samples.push(await act(i));
    writes.push((await untilQuiet(store)) - before);
  }
  return [formatSummary(summarize(samples)), summarize(writes).median.toFixed(0)];
}

/** The time until all others in the cells of these nodes have been told; afterwards they are back. */
async function lose(controller: ChildProcess, fleet: Fleet, gone: readonly string[]): Promise<number> {
  const concerned = gone
    .flatMap((name) => nodesOf(Number(name.split("-")[1])))
    .filter((name) => !gone.includes(name));
  let start = wallClock();
  send(controller, { type: "gone", nodes: gone });
  const ms = await fleet.wait(concerned, start);
  start = wallClock();
  send(controller, { type: "gone", nodes: [] });
  await fleet.wait(concerned, start);
  return ms;
}

type Fleet = Awaited<ReturnType<typeof startFleet>>;

async function startFleet(url: string, nodes: number, running: AsyncDisposableStack) {
  const names = Array.from({ length: nodes / NODES_PER_CELL }, (_, cell) => nodesOf(cell)).flat();
  const told = new Map<string, { readonly at: number; readonly gateways: number }>();
  const agents = names.map((name, i) => ({
    name,
    cell: `cell-${name.split("-")[1]}`,
    address: formatAddress(0x0a000001 + i),
  }));
  const processes: ChildProcess[] = [];
  const registered: Promise<void>[] = [];
  for (let i = 0; i < nodes; i += AGENTS_PER_PROCESS) {
    const child = startProcess("agents.ts", running);
    processes.push(child);
    const { promise, resolve } = Promise.withResolvers<void>();
    registered.push(promise);
    child.on("message", (news: AgentsNews) => {
      if (news.type === "registered") resolve();
      else told.set(news.node, news);
    });
    send(child, { store: url, agents: agents.slice(i, i + AGENTS_PER_PROCESS) });
  }
  await Promise.all(registered);

  const until = async (which: readonly string[], after: number, is: (gateways: number) => boolean) => {
    const end = performance.now() + DEADLINE_MS;
    const missing = () =>
      which.filter((name) => {
        const news = told.get(name);
        return !news || news.at < after || !is(news.gateways);
      });
    while (missing().length > 0) {
      assert(performance.now() < end, `${missing().length} of ${which.length} nodes were not told in time`);
      await delay(5);
    }
  };
  const last = (which: readonly string[]): number => Math.max(...which.map((name) => told.get(name)!.at));
  return {
    names,
    until,
    last,
    /** Milliseconds from `start` until the last of them was told something. */
    wait: async (which: readonly string[], start: number): Promise<number> => {
      await until(which, start, () => true);
      return last(which) - start;
    },
    megabytes: () => processes.reduce((sum, { pid }) => sum + Number(megabytes(pid)), 0),
  };
}

function startProcess(file: string, running: AsyncDisposableStack): ChildProcess {
  const child = fork(fileURLToPath(new URL(`fleet/${file}`, import.meta.url)), {
    execPath: process.execPath,
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  running.defer(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return child;
}

function send(child: ChildProcess, task: AgentsTask | ControllerTask): void {
  child.send(task);
}

function nodesOf(cell: number): readonly string[] {
  return Array.from({ length: NODES_PER_CELL }, (_, i) => `node-${cell}-${i}`);
}

/** Cells that take changes at once, so that what is measured is not the waiting of a rollout. */
async function declareAll(store: Store, cells: number): Promise<void> {
  await store.create(object("AddressPool", "public", { cidrs: ["198.18.0.0/15"] }));
  for (let cell = 0; cell < cells; cell++) {
    await store.create(object("Cell", `cell-${cell}`, { rollout: { canaries: 0 } }));
    const gateways = Array.from({ length: GATEWAYS_PER_CELL }, (_, g) => gateway(cell, g));
    for (let i = 0; i < gateways.length; i += MAX_CHANGES) {
      const drafts = gateways.slice(i, i + MAX_CHANGES);
      await store.commit(drafts.map((draft) => ({ action: "create", draft })));
    }
  }
}

function gateway(cell: number, number: number, udp = 300): ObjectOf<"NatGateway"> {
  const sources = [`${formatAddress(0x0a000000 + number * 256)}/24`];
  const spec = { cell: `cell-${cell}`, sources, addresses: { pool: "public" }, timeouts: { udp } };
  return object("NatGateway", `gateway-${cell}-${number}`, spec) as ObjectOf<"NatGateway">;
}

/** What `natto apply` does with one gateway that changes. */
async function touchGateway(store: Store, cell: number, i: number): Promise<void> {
  await store.update<"NatGateway">(gateway(cell, i, 301 + i));
}

function object(kind: string, name: string, spec: unknown) {
  const metadata = kind === "NatGateway" ? { name, namespace: "tenant" } : { name };
  return validateObject({ apiVersion: "natto.dev/v1alpha1", kind, metadata, spec });
}

async function revisionOf(store: Store): Promise<number> {
  return Number((await store.list({ kind: "Cell", name: "none" })).resourceVersion);
}

/** Waits until nobody but the leader's heartbeat has written for half a second; the revision then. */
async function untilQuiet(store: Store): Promise<number> {
  for (let before = await revisionOf(store); ; ) {
    await delay(500);
    const now = await revisionOf(store);
    if (now - before <= 1) return now;
    before = now;
  }
}

/** Resident memory. */
function megabytes(pid: number | undefined): string {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return (Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024).toFixed(0);
}

function etcdSizes({ members }: EtcdCluster): readonly number[] {
  return members.map(({ pid }) => Number(megabytes(pid())));
}
