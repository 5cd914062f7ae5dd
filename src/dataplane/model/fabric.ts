/** A whole cell in the model: one node per model, joined by the fabric that carries wrapped packets from one to the other. */
import { parseIpv4 } from "../packet.ts";
import { MARKS } from "./moves.ts";
import type { Outcome } from "./outcome.ts";
import { type Counter, type DropCounter, EMPTY_STATE, type PairEnd, type Role, type State } from "./state.ts";
import { step } from "./step.ts";
import { configOf, INTERFACE, plannedRoutes, rolesOf, type World } from "./world.ts";

export interface Cloud {
  readonly world: World;
  /** The world as each node sees it: while a change spreads they differ in owners and moves. */
  readonly views: readonly World[];
  /** One for each node of the world. */
  readonly states: readonly State[];
  /** Milliseconds. */
  readonly now: number;
}

export function newCloud(world: World): Cloud {
  return { world, views: world.nodes.map(() => world), states: world.nodes.map(() => EMPTY_STATE), now: 0 };
}

/** How the way of a packet through the cell ended, and at which node. */
export type End =
  | { readonly kind: "left"; readonly node: number; readonly ifindex: number; readonly packet: Buffer }
  | { readonly kind: "kernel"; readonly node: number; readonly packet: Buffer }
  | { readonly kind: "dropped"; readonly node: number; readonly counter: DropCounter }
  | { readonly kind: "held"; readonly node: number };

export interface Delivery {
  readonly cloud: Cloud;
  readonly end: End;
  /** How the way of the fragments ended that it released. */
  readonly released: readonly End[];
  /** Nodes that the packet came to, in order, and what each counted. */
  readonly path: readonly { readonly node: number; readonly counters: readonly Counter[] }[];
}

/** The node where a packet comes in, and one more for each mark that there is. */
const MOST_NODES = MARKS.length + 1;

/** A frame on its way: at which node, and at which of its interfaces. */
interface Carried {
  readonly at: number;
  readonly role: Role | PairEnd;
  readonly frame: Buffer;
  readonly hops: number;
}

/** Brings a packet to a node, and on to the next one while it is wrapped. Throws when it goes further than the specification allows. */
export function deliver(cloud: Cloud, node: number, role: Role, frame: Buffer): Delivery {
  let states = cloud.states;
  const path: { node: number; counters: readonly Counter[] }[] = [];
  const ends: End[] = [];
  const carried: Carried[] = [{ at: node, role, frame, hops: 0 }];
  for (let next = carried.shift(); next; next = carried.shift()) {
    const { at, hops } = next;
    if (hops >= MOST_NODES) throw new Error(`a packet was passed on again, at node ${at}`);
    const outcome = stepAt({ ...cloud, states }, at, next.role, next.frame);
    states = states.with(at, outcome.state);
    path.push({ node: at, counters: outcome.counters });
    const { verdict, packet } = outcome;
    if (verdict.kind === "redirect" && verdict.ifindex === INTERFACE.fabric && packet) {
      const to = nodeOf(cloud.world, packet);
      carried.push({ at: to, role: rolesOf(cloud.world)[0]!, frame: packet, hops: hops + 1 });
    } else if (verdict.kind === "circulate" && packet) {
      carried.push({ at, role: "again", frame: packet, hops }, { at, role: "held", frame: packet, hops });
    } else if (next.role !== "held") {
      ends.push(endOf(outcome, at));
    }
  }
  const [end, ...released] = ends;
  return { cloud: { ...cloud, states }, end: end!, released, path };
}

function stepAt({ views, states, now }: Cloud, node: number, role: Role | PairEnd, frame: Buffer): Outcome {
  const world = views[node]!;
  const route = plannedRoutes(world.nodes[node]!);
  return step(configOf(world, node), states[node]!, { frame, role, now, route });
}

/** The node that a wrapped packet is addressed to. */
function nodeOf(world: World, frame: Buffer): number {
  const parsed = parseIpv4(frame);
  const index = parsed.ok ? world.nodes.findIndex((n) => n.address === parsed.ip.destination) : -1;
  if (index < 0) throw new Error("a packet left for a node that does not exist");
  return index;
}

function endOf({ verdict, packet }: Outcome, node: number): End {
  switch (verdict.kind) {
    case "drop":
      return { kind: "dropped", node, counter: verdict.counter };
    case "kernel":
      return { kind: "kernel", node, packet: packet! };
    case "redirect":
      return { kind: "left", node, ifindex: verdict.ifindex, packet: packet! };
    case "kept":
      return { kind: "held", node };
    case "circulate":
    case "return":
      throw new Error("only probes are sent back, and nobody here sends any");
  }
}
