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
  let nodesFreeAt = 0;
  for (let at = 0; at < durationMs; at += random.between(PAUSE_BETWEEN.least, PAUSE_BETWEEN.most)) {
    if (targets.nodes.length > 0 && at >= nodesFreeAt) {
      const until = at + random.between(NODE_OUTAGE.least, NODE_OUTAGE.most);
      if (until > durationMs) continue;
      nodesFreeAt = until + NODE_RECOVERY;
      faults.push({
        kind: random.pick(["power", "power", "wipe"]),
        host: random.pick(targets.nodes),
        at,
        until,
      });
      continue;
    }
    const until = Math.min(durationMs, at + random.between(SHORTEST, LONGEST));
    const fault = drawControlFault(random, targets, at, until);
    if (fault && !faults.some((other) => collide(other, fault))) faults.push(fault);
  }
  return faults;
}

function drawControlFault(
  random: Random,
  { processes, partitions }: Targets,
  at: number,
  until: number,
): Fault | undefined {
  const kind = random.pick(["kill", "kill", "pause", "partition"] as const);
  if (kind !== "partition") {
    return processes.length > 0 ? { kind, ...random.pick(processes), at, until } : undefined;
  }
  return partitions.length > 0 ? { kind, host: random.pick(partitions), at, until } : undefined;
}

/** Whether two faults cannot be told apart, or undone, while both last. A fault of a whole node is one of its agent too. */
function collide(a: Fault, b: Fault): boolean {
  if (a.host !== b.host || a.until < b.at || b.until < a.at) return false;
  if ("process" in a && "process" in b) return a.process === b.process;
  if ("process" in a || "process" in b) return isNodeFault(a) || isNodeFault(b);
  return true;
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
