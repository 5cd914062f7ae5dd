/** Random histories for the planner's properties: nodes and gateways come, go and change, and every plan builds on the one before. */
import fc from "fast-check";
import type { MemberState } from "../membership/membership.ts";
import { cloud, type GatewayTraits, gateway, type NodeTraits, node, pool, publish } from "./fixtures.ts";
import { type Plan, type PlanInput, plan } from "./plan.ts";

export interface World {
  readonly nodes: ReadonlyMap<string, NodeTraits & { readonly state: MemberState }>;
  readonly gateways: ReadonlyMap<string, GatewayTraits>;
}

export type Step = (world: World) => World;

export const nodeName = fc.integer({ min: 0, max: 11 }).map((n) => `n${n}`);
export const gatewayName = fc.integer({ min: 0, max: 4 }).map((n) => `g${n}`);
const weight = fc.constantFrom(0, 1, 50, 100, 100, 100, 200, 1000);
const state = fc.constantFrom<MemberState>("alive", "alive", "unmanaged", "gone");

function setNode(name: string, change: Partial<NodeTraits & { state: MemberState }>): Step {
  return (world) => {
    const before = world.nodes.get(name) ?? { state: "alive" as const };
    return { ...world, nodes: new Map([...world.nodes, [name, { ...before, ...change }]]) };
  };
}

export function setGateway(name: string, change: GatewayTraits): Step {
  return (world) => {
    const before = world.gateways.get(name);
    const generation = (before?.generation ?? 0) + 1;
    return { ...world, gateways: new Map([...world.gateways, [name, { ...before, ...change, generation }]]) };
  };
}

const joins = (weights: fc.Arbitrary<number>) =>
  fc
    .tuple(nodeName, fc.constantFrom("a", "b", "c"), weights)
    .map(([name, zone, w]) =>
      setNode(name, { zone, weight: w, state: "alive", drain: false, ready: "True" }),
    );

const deletesNode = nodeName.map(
  (name): Step =>
    (world) => ({
      ...world,
      nodes: new Map([...world.nodes].filter(([n]) => n !== name)),
    }),
);

const declares = fc
  .tuple(
    gatewayName,
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 9 }),
    fc.constantFrom(1024, 4032, 9216, 64512),
  )
  .map(([name, count, size, perSlot]) => setGateway(name, { count, size, perSlot }));

const deletesGateway = gatewayName.map(
  (name): Step =>
    (world) => ({
      ...world,
      gateways: new Map([...world.gateways].filter(([n]) => n !== name)),
    }),
);

const anyStep = fc.oneof(
  { weight: 4, arbitrary: joins(weight) },
  { weight: 2, arbitrary: fc.tuple(nodeName, state).map(([name, s]) => setNode(name, { state: s })) },
  { weight: 1, arbitrary: fc.tuple(nodeName, fc.boolean()).map(([name, drain]) => setNode(name, { drain })) },
  { weight: 1, arbitrary: fc.tuple(nodeName, weight).map(([name, w]) => setNode(name, { weight: w })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(nodeName, fc.constantFrom<"True" | "False" | "Unknown">("True", "False", "Unknown"))
      .map(([name, ready]) => setNode(name, { ready })),
  },
  { weight: 1, arbitrary: deletesNode },
  { weight: 3, arbitrary: declares },
  { weight: 1, arbitrary: deletesGateway },
);
export const history = fc.array(anyStep, { minLength: 1, maxLength: 25 });

/** A history in which all nodes have the same weight and are alive while they are there. */
export const evenHistory = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: joins(fc.constant(100)) },
    { weight: 1, arbitrary: deletesNode },
    { weight: 2, arbitrary: declares },
  ),
  { minLength: 1, maxLength: 25 },
);

export const EMPTY: World = { nodes: new Map(), gateways: new Map() };

export function inputOf(world: World, placements: PlanInput["placements"]): PlanInput {
  const nodes = [...world.nodes].map(([name, traits]) => node(name, traits));
  return cloud({
    nodes,
    gateways: [...world.gateways].map(([name, traits]) => gateway(name, traits)),
    pools: [pool("p1", ["203.0.113.0/29", "198.51.100.4/31"])],
    members: new Map([...world.nodes].map(([name, traits]) => [name, traits.state])),
    placements,
  });
}

/** Lives through a history; calls `check` for each plan with the input it was made of. Returns the last input, published. */
export function live(
  steps: readonly Step[],
  check: (input: PlanInput, planned: Plan) => void = () => {},
): PlanInput {
  let world = EMPTY;
  let input = inputOf(world, []);
  for (const step of steps) {
    world = step(world);
    input = inputOf(world, input.placements);
    const planned = plan(input);
    check(input, planned);
    input = publish(input, planned);
  }
  return input;
}
