/** What breaks when: a list of faults that a seed decides. Pure. */
import type { Random } from "./random.ts";

/** A process of the lab that may be killed or paused. */
export interface Victim {
  readonly host: string;
  readonly process: string;
}

export interface Targets {
  /** Everything that is not on the path of packets: stores, Consul servers, servers, controllers, agents. */
  readonly processes: readonly Victim[];
  /** Hosts whose management network may fail. */
  readonly partitions: readonly string[];
  /** Nodes that may lose their power, or everything they ever stored. */
  readonly nodes: readonly string[];
}

/**
 * - `kill`: the process is killed, and started again at the end.
 * - `pause`: the process is stopped (SIGSTOP), and goes on at the end.
 * - `partition`: the host is cut off from the management network.
 * - `power`: the node's links are cut and its agent is killed; at the end both come back.
 * - `wipe`: the same, and what the node had stored is gone: its snapshot, its maps, its programs.
 */
export type Fault = { readonly at: number; readonly until: number } & (
  | ({ readonly kind: "kill" | "pause" } & Victim)
  | { readonly kind: "partition" | "power" | "wipe"; readonly host: string }
);

/** Milliseconds. A node that came back is left in peace until the others may take it for well again. */
const SHORTEST = 1_000;
const LONGEST = 12_000;
const NODE_OUTAGE = { least: 6_000, most: 10_000 };
const NODE_RECOVERY = 12_000;
const PAUSE_BETWEEN = { least: 200, most: 4_000 };

/**
 * Draws faults for `durationMs`. Several processes may be down at once, a majority of the store's members too; but at most one node's
 * power is off at a time, since every slot has one backup, and nothing befalls the same victim twice at once.
 */
export function drawSchedule(random: Random, targets: Targets, durationMs: number): readonly Fault[] {
  const faults: Fault[] = [];
  const lone = loneProcesses(targets);
  let nodesFreeAt = 0;
  for (let at = 0; at < durationMs; at += random.between(PAUSE_BETWEEN.least, PAUSE_BETWEEN.most)) {
    const isNodesTurn = targets.nodes.length > 0 && at >= nodesFreeAt;
    const fault = isNodesTurn ? drawNodeFault(random, targets, at) : drawControlFault(random, targets, at);
    if (!fault || fault.until > durationMs || faults.some((other) => collide(other, fault, lone))) continue;
    faults.push(fault);
    if (isNodesTurn) nodesFreeAt = fault.until + NODE_RECOVERY + random.between(0, NODE_RECOVERY);
  }
  return faults;
}

function drawNodeFault(random: Random, { nodes }: Targets, at: number): Fault {
  const until = at + random.between(NODE_OUTAGE.least, NODE_OUTAGE.most);
  return {
    kind: random.pick(["power", "power", "wipe"]),
    host: random.pick(nodes),
    at,
    until,
  };
}

function drawControlFault(random: Random, { processes, partitions }: Targets, at: number): Fault | undefined {
  const until = at + random.between(SHORTEST, LONGEST);
  const kind = random.pick(["kill", "kill", "pause", "partition"] as const);
  if (kind !== "partition") {
    return processes.length > 0 ? { kind, ...random.pick(processes), at, until } : undefined;
  }
  return partitions.length > 0 ? { kind, host: random.pick(partitions), at, until } : undefined;
}

/**
 * Whether two faults may not overlap: they could not be told apart or undone, or together they are more than Natto promises to bear. A node
 * that comes back from a failure of its links still has its old maps, and needs its agent and a control plane to learn better.
 */
function collide(a: Fault, b: Fault, lone: ReadonlySet<string>): boolean {
  const [first, second] = isNodeFault(a) ? [a, b] : [b, a];
  const recovery = isNodeFault(first) ? NODE_RECOVERY : 0;
  if (first.until + recovery < second.at || second.until < first.at) return false;
  if (isNodeFault(first))
    return first.host === second.host || ("process" in second && lone.has(second.process));
  if (a.host !== b.host) return false;
  return "process" in a && "process" in b ? a.process === b.process : !("process" in a || "process" in b);
}

/** Processes of which there is only one: without it nothing is decided. */
function loneProcesses({ processes }: Targets): ReadonlySet<string> {
  const names = processes.map((victim) => victim.process);
  return new Set(names.filter((name) => names.indexOf(name) === names.lastIndexOf(name)));
}

export function isNodeFault(fault: Fault): boolean {
  return fault.kind === "power" || fault.kind === "wipe";
}

/** One line for people. */
export function faultText(fault: Fault): string {
  const what =
    "process" in fault ? `${fault.kind} ${fault.process} of ${fault.host}` : `${fault.kind} ${fault.host}`;
  return `${(fault.at / 1000).toFixed(1)} s: ${what} for ${((fault.until - fault.at) / 1000).toFixed(1)} s`;
}
