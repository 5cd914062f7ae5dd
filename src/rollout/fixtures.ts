/** What tests of rollouts share: gateways in versions, nodes that report, and a cell in which both live. */
import { DEFAULT_ROLLOUT, type RolloutSettings } from "../model/cell.ts";
import { DEFAULT_BEHAVIOUR } from "../model/nat-behaviour.ts";
import { type GatewayConfig, gatewayConfigSchema } from "../model/node-config.ts";
import type { RolloutSpec } from "../model/rollout.ts";
import { decideRollout, type RolloutStep } from "./decide.ts";
import type { NodeReport } from "./health.ts";
import type { RolloutMemory } from "./memory.ts";
import { policyOf, servesAny } from "./policy.ts";
import { policyOfNode } from "./progress.ts";

/** A gateway whose UDP timeout is its version. */
export function version(name: string, udp: number): GatewayConfig {
  return gatewayConfigSchema.parse({
    namespace: "t",
    name,
    uid: `uid-of-${name}`,
    sources: ["10.0.0.0/24"],
    portsPerSlot: 64_512,
    behaviour: { ...DEFAULT_BEHAVIOUR, timeouts: { ...DEFAULT_BEHAVIOUR.timeouts, udp } },
    nodes: ["n1"],
    addresses: [{ address: "203.0.113.1", owners: [0], backups: [-1] }],
  });
}

export function healthy(name: string, change: Partial<NodeReport> = {}): NodeReport {
  const well = { alive: true, draining: false, ready: true, current: true, complaints: [] };
  return { name, ...well, packets: 0, drops: 0, ...change };
}

/** A cell whose nodes take up what they are given when they are told to. */
export interface Trial {
  spec: RolloutSpec | undefined;
  memory: RolloutMemory | undefined;
  settings: RolloutSettings;
  planned: readonly GatewayConfig[];
  /** Milliseconds. */
  now: number;
  readonly nodes: Map<string, NodeReport>;
  /** Node → digest of the policy that it runs. */
  readonly runs: Map<string, string>;
}

export function trial(names: readonly string[], settings: Partial<RolloutSettings> = {}): Trial {
  return {
    spec: undefined,
    memory: undefined,
    settings: { ...DEFAULT_ROLLOUT, ...settings },
    planned: [version("g1", 1), version("g2", 1)],
    now: 0,
    nodes: new Map(names.map((name) => [name, healthy(name)])),
    runs: new Map(),
  };
}

/** The policy that a node is given now. */
export function given(cell: Trial, node: string): string {
  return cell.spec ? policyOfNode(cell.spec, node).digest : "";
}

/** The controller takes a step, and stores it. */
export function step(cell: Trial): RolloutStep {
  const nodes = [...cell.nodes.values()].map((report) => ({
    ...report,
    current: cell.runs.get(report.name) === given(cell, report.name),
  }));
  const { spec, memory, settings, planned, now } = cell;
  const taken = decideRollout({
    cell: "c1",
    settings,
    spec,
    found: undefined,
    planned: policyOf(planned),
    inOperation: spec !== undefined && servesAny(spec.good, planned),
    nodes,
    memory,
    now,
    time: `t${now}`,
  });
  cell.spec = taken.spec;
  cell.memory = taken.memory;
  return taken;
}

/** Nodes take up what they are given. */
export function apply(cell: Trial, names: Iterable<string> = cell.nodes.keys()): void {
  for (const name of names) cell.runs.set(name, given(cell, name));
}

/** Steps and nodes take turns, a second each, for so many seconds. */
export function live(cell: Trial, seconds: number): void {
  for (let i = 0; i < seconds; i++) {
    step(cell);
    apply(cell);
    cell.now += 1000;
  }
}

export function pass(cell: Trial, ms: number): void {
  cell.now += ms;
}

export function configure(cell: Trial, change: Partial<RolloutSettings>): void {
  cell.settings = { ...cell.settings, ...change };
}

export function declare(cell: Trial, ...gateways: readonly GatewayConfig[]): void {
  const names = new Set(gateways.map(({ name }) => name));
  cell.planned = [...cell.planned.filter(({ name }) => !names.has(name)), ...gateways];
}

export function forget(cell: Trial): void {
  cell.memory = undefined;
}

export function setNode(cell: Trial, name: string, change: Partial<NodeReport>): void {
  cell.nodes.set(name, { ...(cell.nodes.get(name) ?? healthy(name)), ...change });
}
