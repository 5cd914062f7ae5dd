/** What the end-to-end stories share: a cloud that a test file brings up and takes down, and how to look at it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import * as bpf from "../../src/dataplane/libbpf.ts";
import {
  eventually,
  gatewayReady,
  listObjects,
  natto,
  nodesReady,
  spreadOverNodes,
} from "../../src/demo/cloud.ts";
import {
  lostPackets,
  type ProbedFlow,
  type ProbeOptions,
  type ProbeReport,
  type Probing,
  startProbing,
} from "../../src/demo/power-off.ts";
import { NattoError } from "../../src/errors.ts";
import { CELL_ROUTING } from "../../src/lab/bgp.ts";
import { type NatCloudOptions, natCloud } from "../../src/lab/clouds.ts";
import { CLUSTER_HOSTS } from "../../src/lab/clusters.ts";
import { type Lab, upLab } from "../../src/lab/lab.ts";
import { freshLabName } from "../../src/lab/lab-name.ts";
import type { LabProcess } from "../../src/lab/lab-process.ts";
import { leftovers } from "../../src/lab/leftovers.ts";
import { bpfFolder, readProcess, readProcesses, stateFolder } from "../../src/lab/run-folder.ts";
import type { Condition } from "../../src/model/meta.ts";
import type { Placement } from "../../src/model/placement.ts";

export const SERVER = "server1";
/** Generous, since the machine may be busy; nothing that is waited for takes nearly as long. */
export const PATIENCE_MS = 60_000;

const API = "natto.dev/v1alpha1";

/**
 * A cell in which changes go from the canary to the others as soon as it has taken them up, and the addresses that all stories share: sixteen.
 * `spec` is added to the cell's.
 */
export function cellAndPool(spec: object = {}): string {
  return `apiVersion: ${API}
kind: Cell
metadata: {name: main}
spec: ${JSON.stringify({ rollout: { bakeSeconds: 0 }, ...spec })}
---
apiVersion: ${API}
kind: AddressPool
metadata: {name: public}
spec: {cidrs: [203.0.113.0/28]}
`;
}

export const CELL_AND_POOL = cellAndPool();

/** The manifest of a gateway of the namespace team-a; `more` is further lines of its spec. */
export function gatewayYaml(name: string, sources: string, count = 1, more = ""): string {
  return `apiVersion: ${API}
kind: NatGateway
metadata: {name: ${name}, namespace: team-a}
spec:
  cell: main
  sources: [${sources}]
  addresses: {pool: public, count: ${count}}
${more}`;
}

/** For long stories: whoever is probed begins five UDP flows a second, all from a slot of 1,024 ports, so they must soon rest. */
export const LONG_STORY_GATEWAYS = [
  { name: "web", yaml: gatewayYaml("web", "10.0.0.0/24", 1, "  timeouts: {udp: 60}\n") },
];

export interface CloudOptions extends Omit<NatCloudOptions, "name"> {
  /** What is declared when the nodes have registered. Default: gateway `web` for all endpoints. */
  readonly gateways?: readonly { readonly name: string; readonly yaml: string }[];
  /** What else is done before the first test. (Two hooks of a file run at once.) */
  readonly prepare?: (lab: Lab) => Promise<void>;
}

/** `NATTO_E2E_CLUSTERS=1`: all stories are told on etcd and Consul, as `make test-clusters` does. */
const ON_CLUSTERS = process.env.NATTO_E2E_CLUSTERS === "1";

/** Brings a cloud up before the tests of this file, with Natto at work in it, and takes it down after them. */
export function useCloud(story: string, options: CloudOptions = {}): () => Lab {
  const {
    gateways = [{ name: "web", yaml: gatewayYaml("web", "10.0.0.0/24") }],
    prepare,
    ...cloud
  } = options;
  let lab: Lab | undefined;
  before(
    async () => {
      const control = cloud.control ?? (ON_CLUSTERS ? "clusters" : "single");
      lab = await upLab(natCloud({ ...cloud, control, name: freshLabName(story) }));
      const routing = cloud.routing === "bgp" ? { routing: CELL_ROUTING } : {};
      await natto(lab, ["apply", "-f", "-"], cellAndPool(routing));
      await nodesReady(lab, hostsOf(lab, "node").length, PATIENCE_MS);
      for (const { name, yaml } of gateways) {
        await natto(lab, ["apply", "-f", "-"], yaml);
        const { status } = await gatewayReady(lab, name, PATIENCE_MS);
        await spreadOverNodes(lab, status?.addresses ?? [], PATIENCE_MS);
      }
      await prepare?.(lab);
    },
    { timeout: 2 * PATIENCE_MS },
  );
  // For when a test did not come to its end; else `leavesNothing` has done it.
  after(async () => lab?.down());
  return () => {
    assert(lab, "the cloud is up");
    return lab;
  };
}

/** The last test of every file: the cloud is taken down, and nothing of it is left on the machine. */
export function leavesNothing(cloud: () => Lab): void {
  test("The cloud that is taken down leaves no namespace, mount, folder or process behind.", async () => {
    const lab = cloud();
    const processes = await readProcesses(lab.folder);
    assert(processes.length > 0 && leftovers(lab.name).length > 0);
    await lab.down();
    assert.deepEqual(leftovers(lab.name), []);
    for (const { pid, command } of processes) {
      assert(!existsSync(`/proc/${pid}`), `process ${pid} is left: ${command.join(" ")}`);
    }
  });
}

/** The hosts of a role. */
export function hostsOf(lab: Lab, role: "node" | "endpoint"): readonly string[] {
  return lab.topology.hosts.filter((host) => host.role === role).map((host) => host.name);
}

/** Runs a command in a host that must succeed; returns its output. */
export async function run(lab: Lab, host: string, ...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(host, argv);
  assert.equal(code, 0, `${host}: ${argv.join(" ")}: ${stderr}`);
  return stdout;
}

/** Waits until a condition holds; what `look` throws meanwhile counts as "not yet". */
export async function until(what: string, look: () => Promise<boolean>, ms = PATIENCE_MS): Promise<void> {
  let thrown: unknown;
  const patient = async (): Promise<true | undefined> => {
    try {
      return (await look()) || undefined;
    } catch (error) {
      thrown = error;
      return undefined;
    }
  };
  await eventually(what, ms, patient).catch((late) => {
    throw thrown ?? late;
  });
}

/** Lets time go by in which nothing may happen: that something does not happen has no end to wait for. */
export async function nothingFor(seconds: number): Promise<void> {
  await delay(seconds * 1000);
}

/** Starts a process of the lab again that has ended, with the command it had. */
export async function restart(lab: Lab, host: string, name: string): Promise<LabProcess> {
  const record = await readProcess(lab.folder, host, name);
  assert(record, `${host} had a process ${name}`);
  return lab.spawn(host, record.command, { name });
}

/** Waits until the server answers the command line. */
export function serverAnswers(lab: Lab): Promise<void> {
  return until("the server answers", async () => {
    const { code } = await lab.exec("control", ["natto", "get", "nodes"]);
    return code === 0;
  });
}

/** Ends a process without warning. */
export async function killHard(lab: Lab, host: string, name: string): Promise<void> {
  const running = await lab.process(host, name);
  assert.equal(running.kill("SIGKILL"), true, `${name} of ${host} was running`);
  await running.exited();
}

/** Lets a process end by itself. */
export async function stopSoftly(lab: Lab, host: string, name: string): Promise<void> {
  const running = await lab.process(host, name);
  assert.equal(running.kill("SIGTERM"), true, `${name} of ${host} was running`);
  await running.exited();
}

/** Whether the lab has etcd and Consul, and not one server with an embedded store. */
export function hasClusters(lab: Lab): boolean {
  return lab.topology.hosts.some((host) => host.name === CLUSTER_HOSTS[0].name);
}

/** Hosts and processes that keep what is declared: the server, or all members of etcd. */
function storeProcesses(lab: Lab): readonly (readonly [host: string, process: string])[] {
  return hasClusters(lab)
    ? CLUSTER_HOSTS.map(({ name }) => [name, "etcd"] as const)
    : [["control", "server"]];
}

/** Those without which nobody can read or write: a majority of etcd leaves the first member alone. */
function decisiveProcesses(lab: Lab): ReturnType<typeof storeProcesses> {
  return storeProcesses(lab).slice(hasClusters(lab) ? 1 : 0);
}

/** The store goes away without warning, for the agents and for people. */
export async function loseStore(lab: Lab): Promise<void> {
  for (const [host, process] of decisiveProcesses(lab)) await killHard(lab, host, process);
}

/** Brings back what `loseStore` took, and waits until the server answers from it. */
export async function regainStore(lab: Lab): Promise<void> {
  for (const [host, process] of decisiveProcesses(lab)) await restart(lab, host, process);
  await serverAnswers(lab);
}

/** The disks of the store are lost, all at once; it starts empty, and the server answers from it. */
export async function emptyStore(lab: Lab): Promise<void> {
  const members = storeProcesses(lab);
  const file = hasClusters(lab) ? "etcd" : "natto.db";
  for (const [host, process] of members) await killHard(lab, host, process);
  for (const [host] of members) {
    const { state } = nodeFolders(lab, host);
    const found = (await readdir(state)).filter((name) => name.startsWith(file));
    assert(found.length > 0, `${host} had a store`);
    for (const name of found) await rm(join(state, name), { recursive: true });
  }
  for (const [host, process] of members) await restart(lab, host, process);
  await serverAnswers(lab);
}

/** The folders of a node's agent. */
export function nodeFolders(lab: Lab, node: string): { readonly pins: string; readonly state: string } {
  return { pins: bpfFolder(lab.folder, node), state: stateFolder(lab.folder, node) };
}

/** All entries of one of a node's pinned maps, key → value in hexadecimal. */
export function pinnedEntries(lab: Lab, node: string, map: string): ReadonlyMap<string, string> {
  const fd = bpf.openPin(`${nodeFolders(lab, node).pins}/${map}`);
  assert(fd !== undefined, `map ${map} of ${node} is pinned`);
  try {
    const info = bpf.mapInfo(fd);
    const { keys, values, count } = bpf.readEntries(fd, info);
    const hex = (all: Buffer, size: number, i: number) => all.toString("hex", i * size, (i + 1) * size);
    return new Map(
      Array.from({ length: count }, (_, i) => [hex(keys, info.keySize, i), hex(values, info.valueSize, i)]),
    );
  } finally {
    bpf.closeFd(fd);
  }
}

/** A node's condition as `natto describe` shows it to people; empty when it is not there. */
export async function describedCondition(lab: Lab, node: string, type: string): Promise<string> {
  const text = await natto(lab, ["describe", "node", node]);
  return text.split("\n").find((line) => line.trim().startsWith(`${type} `)) ?? "";
}

/** A node's condition by its status. */
export async function nodeCondition(lab: Lab, node: string, type: string): Promise<Condition | undefined> {
  const nodes = await listObjects(lab, "GatewayNode");
  return nodes.find((n) => n.metadata.name === node)?.status?.conditions.find((c) => c.type === type);
}

/** Packets by counter, over all nodes as they last reported. */
export async function counters(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const sums: Record<string, number> = {};
  for (const node of await listObjects(lab, "GatewayNode")) {
    for (const [name, n] of Object.entries(node.status?.counters ?? {})) sums[name] = (sums[name] ?? 0) + n;
  }
  return sums;
}

/** Waits until a counter is larger than it was by at least so many packets. */
export async function counterGrows(
  lab: Lab,
  earlier: Readonly<Record<string, number>>,
  name: string,
  by: number,
): Promise<void> {
  const first = earlier[name] ?? 0;
  await until(`${name} grows by ${by}`, async () => ((await counters(lab))[name] ?? 0) >= first + by);
}

/** The placement of a gateway of team-a. */
export async function placementOf(lab: Lab, gateway: string): Promise<Placement> {
  const found = (await listObjects(lab, "Placement")).find((p) => p.metadata.name === gateway);
  if (!found) throw new NattoError("NotFound", `gateway ${gateway} has no placement`);
  return found;
}

export interface PlacedSlot {
  readonly owner: string | undefined;
  readonly backup: string | undefined;
}

/** Every slot, `address/slot`, with the names of its owner and of its backup. */
export function placedSlots({ spec }: Placement): ReadonlyMap<string, PlacedSlot> {
  return new Map(
    spec.addresses.flatMap(({ address, owners, backups }) =>
      owners.map((owner, slot) => [
        `${address}/${slot}`,
        { owner: spec.nodes[owner], backup: spec.nodes[backups[slot] ?? -1] },
      ]),
    ),
  );
}

/** Every slot, `address/slot`, with the name of its owner. (Backups change with the health of nodes, and move nobody's flows.) */
export function slotOwners(placement: Placement): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries([...placedSlots(placement)].map(([slot, { owner }]) => [slot, owner]));
}

/** Probes from all endpoints while something is done; the probing ends in any case. */
export async function whileProbing(
  lab: Lab,
  options: Partial<ProbeOptions>,
  act: (probing: Probing) => Promise<void>,
): Promise<ProbeReport> {
  const endpoints = hostsOf(lab, "endpoint");
  const probing = await startProbing(lab, {
    ...{ endpoints, server: SERVER, flows: 4, tcp: 2, rate: 10, fresh: 5 },
    ...options,
  });
  let report: ProbeReport;
  try {
    await act(probing);
  } finally {
    report = await probing.stop();
  }
  return report;
}

/** Counts at the outside router, from now on, what comes from enrolled addresses and what comes from public ones. */
export async function watchOutside(lab: Lab): Promise<void> {
  const rules = `table ip story {
  counter untranslated {}
  counter translated {}
  chain seen {
    type filter hook prerouting priority -300;
    ip saddr 10.0.0.0/16 counter name untranslated
    ip saddr 203.0.113.0/28 counter name translated
  }
}
`;
  const { code, stderr } = await lab.exec("fabric-out", ["nft", "-f", "-"], { input: rules });
  assert.equal(code, 0, stderr);
}

/** What `watchOutside` has counted, in packets. */
export async function seenOutside(lab: Lab): Promise<{ untranslated: number; translated: number }> {
  const text = await run(lab, "fabric-out", "nft", "list", "counters", "table", "ip", "story");
  const packets = (name: string) => Number(new RegExp(`counter ${name} {\\s*packets (\\d+)`).exec(text)?.[1]);
  return { untranslated: packets("untranslated"), translated: packets("translated") };
}

/** Nothing was lost: no packet of a UDP flow, no connection, no new flow; and no flow changed its address and port. */
export function assertNothingLost(report: ProbeReport): void {
  assert.deepEqual(troubledOf(report.flows), []);
  assert(report.flows.every(({ report: r }) => r.sent > 0));
  for (const { flow, sent, answered, broken } of report.tcp) {
    assert.equal(broken, undefined, `TCP flow ${flow}`);
    assert(sent > 0 && answered > 0);
  }
  for (const [host, { attempts, answered }] of report.fresh) {
    assert(attempts > 0);
    // The last one may still be under way when the counting ends.
    assert(answered >= attempts - 1, `${host}: ${answered} of ${attempts} new flows were answered`);
  }
}

/** UDP flows that lost a packet or changed their address and port, in words. */
export function troubledOf(flows: readonly ProbedFlow[]): readonly string[] {
  return flows.filter(({ report }) => lostPackets(report) > 0 || report.outside.length !== 1).map(summary);
}

function summary({ host, path, report }: ProbedFlow): string {
  const lost = `${lostPackets(report)} of ${report.sent} lost`;
  return `${host} ${report.outside.join(" ")}: ${lost}, path ${path.outbound} ${path.owner} ${path.inbound}`;
}
