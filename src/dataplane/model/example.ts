/** One node in a small world, for tests that tell a story: it owns every slot until the story says otherwise. */
import { DEFAULT_ALLOCATION } from "../../model/allocation.ts";
import { DEFAULT_BEHAVIOUR, DEPENDENCES, type NatBehaviour } from "../../model/nat-behaviour.ts";
import { FABRIC_NETWORK, slotsPerAddress } from "../../model/slots.ts";
import type { Outcome } from "./outcome.ts";
import { buildSketch, echo, tcp, udp } from "./sketch.ts";
import {
  EMPTY_STATE,
  gatewayOfSource,
  type ModelConfig,
  type PairEnd,
  type Role,
  type SlotName,
  type State,
  slotOfSource,
} from "./state.ts";
import { step } from "./step.ts";
import { sweep } from "./sweep.ts";
import type { RouteLookup } from "./translate.ts";
import { configOf, moveSlot, PLAN, planned, plannedRoutes, type World } from "./world.ts";

/** Source ports that differ by this like the same public port. */
export const PORTS_PER_SLOT = 64;
const ALL_MINE = Array.from({ length: slotsPerAddress(PORTS_PER_SLOT) }, () => 0);

export const ENDPOINT = planned(PLAN.endpoints, 1);
export const OTHER_ENDPOINT = planned(PLAN.endpoints, 2);
export const REMOTE = planned(PLAN.remotes, 1);
export const OTHER_REMOTE = planned(PLAN.remotes, 2);
export const PUBLIC = planned(PLAN.publics, 1);
export const NODE = planned(PLAN.nodes, 1);
export const PEER = planned(PLAN.nodes, 2);

export const EXAMPLE: World = {
  nodes: [
    { name: "node-0", address: NODE },
    { name: "node-1", address: PEER },
    { name: "node-2", address: planned(PLAN.nodes, 3) },
  ],
  gateways: [
    {
      id: "gateway",
      sources: ["10.1.0.0/24", "10.2.0.0/24"],
      addresses: [PUBLIC],
      portsPerSlot: PORTS_PER_SLOT,
      allocation: DEFAULT_ALLOCATION,
      behaviour: DEFAULT_BEHAVIOUR,
      owners: [ALL_MINE],
    },
  ],
  maxRecords: 400,
  endpoints: [ENDPOINT, OTHER_ENDPOINT],
  remotes: [REMOTE, OTHER_REMOTE],
  oneInterface: false,
};

/** The example, whose gateway behaves in another way. */
export function behaving(change: Partial<NatBehaviour>, world: World = EXAMPLE): World {
  const gateways = world.gateways.map((g) => ({ ...g, behaviour: { ...g.behaviour, ...change } }));
  return { ...world, gateways };
}

/** The mapping and filtering that both protocols can have. */
export const COMBINATIONS: readonly Pick<NatBehaviour, "mapping" | "filtering">[] = DEPENDENCES.flatMap(
  (mapping, looseness) =>
    DEPENDENCES.slice(looseness).map((filter) => ({
      mapping: { udp: mapping, tcp: mapping },
      filtering: { udp: filter, tcp: filter },
    })),
);

/** The slot of an endpoint's flows. */
export function slotOf(endpoint: number): SlotName {
  const config = configOf(EXAMPLE, 0);
  return slotOfSource(gatewayOfSource(config, endpoint)!, FABRIC_NETWORK, { address: endpoint, port: 0 })!;
}

export interface Bench {
  receive(frame: Buffer, role?: Role): Outcome;
  /** What becomes of a first fragment, and after it of those that it releases, when it was sent into the pair. */
  circulate(first: Outcome): readonly Outcome[];
  /** Lets time pass and sweeps; returns how many sessions ended. */
  wait(seconds: number): number;
  move(slot: SlotName, owner: number): void;
  /** Takes on another configuration. */
  become(world: World): void;
  state(): State;
}

/** Node 0 of a world. */
export function newBench(
  world: World = EXAMPLE,
  route: RouteLookup = plannedRoutes(world.nodes[0]!),
  change: (config: ModelConfig) => ModelConfig = (config) => config,
): Bench {
  let current = world;
  let state = EMPTY_STATE;
  let now = 0;
  const config = () => change(configOf(current, 0));
  const receive = (frame: Buffer, role: Role | PairEnd = "inside"): Outcome => {
    const outcome = step(config(), state, { frame, role, now, route });
    state = outcome.state;
    return outcome;
  };
  return {
    receive,
    circulate: (first) => {
      const outcomes: Outcome[] = [];
      for (let next = first; next.verdict.kind === "circulate" && next.packet; ) {
        outcomes.push(receive(next.packet, "again"));
        next = receive(next.packet, "held");
      }
      return outcomes;
    },
    wait: (seconds) => {
      now += seconds * 1000;
      const swept = sweep(config(), state, now);
      state = swept.state;
      return swept.expired;
    },
    move: (slot, owner) => {
      current = moveSlot(current, slot, owner);
    },
    become: (next) => {
      current = next;
    },
    state: () => state,
  };
}

/** Who sends to whom, and from and to which port. */
export interface Ends {
  readonly from?: number;
  readonly to?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly ttl?: number;
}

function ipOf({ from = ENDPOINT, to = REMOTE, ttl = 64 }: Ends) {
  return { source: from, destination: to, ttl };
}

function portsOf({ sourcePort = 5000, destinationPort = 443 }: Ends) {
  return { sourcePort, destinationPort };
}

/** From the endpoint to the remote unless told otherwise. */
export function segment(flags: number, ends: Ends = {}): Buffer {
  return buildSketch({
    ip: ipOf(ends),
    transport: tcp({ ...portsOf(ends), flags, payload: Buffer.from("odd") }),
  });
}

export function datagram(ends: Ends = {}, payload: Buffer = Buffer.from("data")): Buffer {
  return buildSketch({ ip: ipOf(ends), transport: udp({ ...portsOf(ends), payload }) });
}

export function ping(identifier: number, ends: Ends = {}, type = 8): Buffer {
  return buildSketch({ ip: ipOf(ends), transport: echo({ identifier, type }) });
}
