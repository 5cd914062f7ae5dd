/** What may happen to a simulated cell: schedules drawn by a seed, said in words, and made to happen. */
import type { GatewayNode } from "../../src/model/gateway-node.ts";
import type { Random } from "../chaos/random.ts";
import type { Machine } from "./machine.ts";
import { STORE } from "./network.ts";
import { type ControllerSeat, declareGateway, type World } from "./world.ts";

/** `at` and `ms` are milliseconds of virtual time: when it begins, and how long it lasts. */
export interface Incident {
  readonly at: number;
  readonly ms: number;
  readonly fault: Fault;
}

type Direction = "to" | "from" | "both";

export type Fault =
  | { readonly kind: "agent-crash" | "power-off" | "isolated" | "dataplane-broken"; readonly node: number }
  | { readonly kind: "agent-frozen" | "agent-clock"; readonly node: number }
  | { readonly kind: "store-cut"; readonly node: number; readonly direction: Direction }
  | { readonly kind: "peer-cut"; readonly node: number; readonly peer: number; readonly direction: Direction }
  | { readonly kind: "unseen"; readonly nodes: readonly number[] }
  | {
      readonly kind: "controller-crash" | "controller-frozen" | "controller-cut";
      readonly controller: number;
    }
  | { readonly kind: "controller-clock"; readonly controller: number }
  | { readonly kind: "store-away" }
  | { readonly kind: "bad-network"; readonly loss: number; readonly maxDelayMs: number }
  | { readonly kind: "drain"; readonly node: number }
  | { readonly kind: "weight"; readonly node: number; readonly weight: number }
  | { readonly kind: "gateway"; readonly name: string; readonly count: number; readonly udp: number }
  | { readonly kind: "gateway-gone"; readonly name: string };

/** What the operator does is no disturbance: everything has to go on working through it. */
export function isDisturbance({ kind }: Fault): boolean {
  return !["drain", "weight", "gateway", "gateway-gone"].includes(kind);
}

/** Whether packets may be lost while it lasts: the rest is of the control plane alone, which no established flow may notice. */
export function breaksPackets({ kind }: Fault): boolean {
  const breaking: readonly Fault["kind"][] = [
    ...(["power-off", "isolated", "dataplane-broken", "agent-frozen", "peer-cut", "unseen"] as const),
    // Deadlines pass by the controllers' clocks.
    ...(["bad-network", "controller-clock"] as const),
  ];
  return breaking.includes(kind);
}

const FIRST_MS = 5_000;
const LAST_MS = 13_000;

/** So many incidents within a quarter of a minute. */
export function drawIncidents(random: Random, machines: number): readonly Incident[] {
  const count = random.pick([1, 1, 2, 2, 3, 4, 6]);
  return Array.from({ length: count }, () => ({
    at: Math.round(random.between(FIRST_MS, LAST_MS)),
    ms: Math.round(random.between(100, random.pick([1_000, 5_000, 9_000]))),
    fault: drawFault(random, machines),
  })).sort((a, b) => a.at - b.at);
}

function drawFault(random: Random, machines: number): Fault {
  const node = Math.floor(random.between(0, machines));
  const controller = Math.floor(random.between(0, 2));
  const direction = random.pick<Direction>(["to", "from", "both", "both"]);
  const name = random.pick(["g1", "g2", "g3"]);
  return random.pick<() => Fault>([
    () => ({ kind: random.pick(["agent-crash", "power-off", "isolated", "dataplane-broken"]), node }),
    () => ({ kind: random.pick(["agent-crash", "power-off", "agent-frozen", "agent-clock"]), node }),
    () => ({ kind: "store-cut", node, direction }),
    () => ({ kind: "peer-cut", node, peer: (node + 1) % machines, direction }),
    () => ({ kind: "unseen", nodes: drawGroup(random, machines) }),
    () => ({ kind: "unseen", nodes: drawGroup(random, machines) }),
    () => ({ kind: random.pick(["controller-crash", "controller-frozen", "controller-cut"]), controller }),
    () => ({ kind: random.pick(["controller-clock", "controller-crash"]), controller }),
    () => ({ kind: "store-away" }),
    () => ({
      kind: "bad-network",
      loss: Math.round(random.between(0, 30)) / 100,
      maxDelayMs: Math.round(random.between(3, 300)),
    }),
    () => ({ kind: "drain", node }),
    () => ({ kind: "weight", node, weight: random.pick([0, 50, 100, 200]) }),
    () => ({ kind: "gateway", name, count: random.pick([1, 2]), udp: random.pick([60, 300]) }),
    () => ({ kind: "gateway-gone", name: "g3" }),
  ])();
}

function drawGroup(random: Random, machines: number): readonly number[] {
  const nodes = Array.from({ length: machines }, (_, n) => n);
  const size = Math.floor(random.between(1, machines));
  return nodes.filter((n) => (n + Math.floor(random.between(0, 2))) % machines < size);
}

export function describeIncident({ at, ms, fault }: Incident): string {
  const { kind, ...facts } = fault;
  const details = Object.entries(facts).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [`${at} ms, for ${ms} ms: ${kind}`, ...details].join(" ");
}

/** Makes it happen; returns what ends it. */
export function strike(world: World, fault: Fault, ms: number): () => void {
  const { network } = world;
  const nothing = (): void => {};
  switch (fault.kind) {
    case "agent-crash":
    case "power-off":
    case "dataplane-broken":
    case "isolated":
    case "agent-frozen":
    case "agent-clock":
      return strikeMachine(world, fault.kind, world.machines[fault.node]!, ms);
    case "store-cut":
      return cut(world, world.machines[fault.node]!.name, STORE, fault.direction);
    case "peer-cut":
      return cut(world, world.machines[fault.node]!.name, world.machines[fault.peer]!.name, fault.direction);
    case "unseen":
      return hide(world, fault.nodes);
    case "controller-crash":
    case "controller-frozen":
    case "controller-cut":
    case "controller-clock":
      return strikeController(world, fault.kind, world.controllers[fault.controller]!, ms);
    case "store-away":
      return cut(world, STORE, "*", "both");
    case "bad-network":
      network.disturb(fault.loss, fault.maxDelayMs);
      return network.calm;
    case "drain":
      setNode(world, fault.node, { drain: true });
      return () => setNode(world, fault.node, { drain: false });
    case "weight":
      setNode(world, fault.node, { weight: fault.weight });
      return () => setNode(world, fault.node, { weight: 100 });
    case "gateway":
      declareGateway(world, fault.name, fault);
      return nothing;
    case "gateway-gone":
      world.declare("NatGateway", fault.name, () => undefined);
      return nothing;
  }
}

function strikeMachine(
  world: World,
  kind: "agent-crash" | "power-off" | "dataplane-broken" | "isolated" | "agent-frozen" | "agent-clock",
  machine: Machine,
  ms: number,
): () => void {
  switch (kind) {
    case "agent-crash":
      machine.killAgent();
      return machine.startAgent;
    case "power-off":
      machine.powerOff();
      return machine.startAgent;
    case "dataplane-broken":
      machine.breakDataplane(true);
      return () => machine.breakDataplane(false);
    case "isolated":
      return cut(world, machine.name, "*", "both");
    case "agent-frozen":
      machine.agent()?.freeze(ms);
      return () => {};
    case "agent-clock":
      machine.agent()?.jump(world.random.pick([-3_600_000, 3_600_000]));
      return () => {};
  }
}

function strikeController(
  world: World,
  kind: "controller-crash" | "controller-frozen" | "controller-cut" | "controller-clock",
  controller: ControllerSeat,
  ms: number,
): () => void {
  switch (kind) {
    case "controller-crash":
      controller.kill();
      return controller.start;
    case "controller-frozen":
      controller.process()?.freeze(ms);
      return () => {};
    case "controller-cut":
      return cut(world, controller.place, STORE, "both");
    case "controller-clock":
      controller.process()?.jump(world.random.pick([-3_600_000, 3_600_000]));
      return () => {};
  }
}

function cut({ network }: World, a: string, b: string, direction: Direction): () => void {
  const ends = [
    ...(direction === "from" ? [] : [network.cut(a, b)]),
    ...(direction === "to" ? [] : [network.cut(b, a)]),
  ];
  return () => {
    for (const end of ends) end();
  };
}

/** These nodes reach the store no more, and the others do not see them; but the world still sends them packets. */
function hide(world: World, nodes: readonly number[]): () => void {
  const hidden = nodes.map((n) => world.machines[n]!.name);
  const others = world.machines.map(({ name }) => name).filter((name) => !hidden.includes(name));
  const ends = hidden.flatMap((name) => [
    cut(world, name, STORE, "both"),
    ...others.map((other) => cut(world, name, other, "both")),
  ]);
  return () => {
    for (const end of ends) end();
  };
}

function setNode(world: World, node: number, change: Partial<GatewayNode["spec"]>): void {
  const { name } = world.machines[node]!;
  world.declare("GatewayNode", name, (before) => before && { ...before.spec, ...change });
}
