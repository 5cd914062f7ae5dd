/**
 * The planner: from what is declared, who is alive and what was placed before to what every node has to do. Pure and deterministic:
 * no I/O, no clock, no randomness, and the order of the arrays does not matter. See docs/planning.md for how it thinks.
 */
import { isDeepStrictEqual } from "node:util";
import type { Members } from "../membership/membership.ts";
import { natBehaviour } from "../model/nat-behaviour.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import type { Placement } from "../model/placement.ts";
import { type CellRouting, resolveRouting } from "../model/routing.ts";
import { type Allocation, allocate } from "./addresses.ts";
import { type Admissions, admit, type Declared, effectiveCell } from "./admission.ts";
import { type Assignment, assign, type PlacementSpec, sameList, samePlacement } from "./assignment.ts";
import { buildFleet, compareFleets, type Fleet, type FleetChange } from "./fleet.ts";
import { carryMoves, type MoveTimes, moveTimes, nextTurn } from "./moves.ts";
import { keyOfObject, type Verdict } from "./order.ts";
import { hashText } from "./rendezvous.ts";
import {
  type CellStatics,
  type DeclaredStatics,
  planStatics,
  requestStatics,
  type StaticStatus,
} from "./statics.ts";
import {
  type CellStatus,
  cellStatus,
  countOwners,
  type GatewayStatus,
  gatewayStatus,
  NO_OWNERSHIP,
  type NodeUsage,
  nodeVerdict,
  type Ownership,
  type PoolStatus,
  poolStatus,
  usageByGateway,
} from "./statuses.ts";

export interface PlanInput extends Declared, DeclaredStatics {
  /** What was planned before: the planner's memory. */
  readonly placements: readonly Placement[];
  readonly members: Members;
  /** Cell → nodes whose loss is not believed; see membership/doubt.ts. */
  readonly doubted?: ReadonlyMap<string, readonly string[]>;
  /** Milliseconds since 1970. Without it slots move at once: nobody remembers who had them before. */
  readonly now?: number;
  /** What the nodes were given, for knowing who has let go of what. */
  readonly nodeConfigs?: readonly NodeConfig[];
  /** Why the members may be old news; see `Membership.trouble`. */
  readonly membershipTrouble?: string | undefined;
}

export type NodeConfigSpec = NodeConfig["spec"];

export interface Plan {
  /** `namespace/name` of a gateway → its placement. Placements that are not here are to be deleted. */
  readonly placements: ReadonlyMap<string, PlacementSpec>;
  /** Node → its configuration. Configurations that are neither here nor in `untouched` are to be deleted. */
  readonly nodeConfigs: ReadonlyMap<string, NodeConfigSpec>;
  /** Nodes of a cell that is missing although it is in operation: their configurations stay as they are (fail static). */
  readonly untouched: ReadonlySet<string>;
  readonly gateways: ReadonlyMap<string, GatewayStatus>;
  readonly floats: ReadonlyMap<string, StaticStatus>;
  readonly forwards: ReadonlyMap<string, StaticStatus>;
  readonly pools: ReadonlyMap<string, PoolStatus>;
  readonly cells: ReadonlyMap<string, CellStatus>;
  /** Node → condition, for those about which there is something to say. */
  readonly nodes: ReadonlyMap<string, Verdict>;
  /** Gateway → addresses that were taken away because its pool does not have them. Said once, so worth logging. */
  readonly withdrawn: ReadonlyMap<string, readonly string[]>;
  /** Slots that had an owner and now have another one or none. */
  readonly movedSlots: number;
  /** When time alone may change the plan (ms since 1970): the next phase of a move. */
  readonly nextTurn: number | undefined;
}

export type Planner = (input: PlanInput) => Plan;

/** Plans without a memory of its own. */
export const plan: Planner = (input) => createPlanner()(input);

/**
 * A planner that reuses earlier results for gateways and cells whose inputs have not changed. It gives the same plans as `plan`, and
 * what is equal to the plan before it is the same object.
 */
export function createPlanner(): Planner {
  let memory: Memory = { fleets: new Map(), gateways: new Map(), configs: new Map() };
  return (input) => {
    const next: Memory = { fleets: new Map(), gateways: new Map(), configs: new Map() };
    const result = planOnce(input, memory, next);
    memory = next;
    return result;
  };
}

interface Memory {
  readonly fleets: Map<string, Fleet>;
  readonly gateways: Map<string, RememberedGateway>;
  /** Cell → its nodes' configurations, and what they were made of. */
  readonly configs: Map<string, RememberedConfigs>;
}

interface RememberedGateway {
  readonly gateway: NatGateway;
  readonly addresses: readonly string[];
  readonly previous: PlacementSpec | undefined;
  readonly fleet: Fleet;
  readonly assignment: Assignment;
  readonly ownership: Ownership;
  readonly config: GatewayConfig;
}

interface RememberedConfigs {
  readonly fleet: Fleet;
  readonly vxlanPort: number;
  readonly routing: CellRouting | undefined;
  readonly gateways: readonly GatewayConfig[];
  readonly statics: CellStatics | undefined;
  readonly specs: ReadonlyMap<string, NodeConfigSpec>;
}

function planOnce(input: PlanInput, before: Memory, after: Memory): Plan {
  const previous = new Map(input.placements.map((p) => [keyOfObject(p), p.spec]));
  const admissions = admit(input, (key) => previous.get(key)?.cell);
  for (const cell of admissions.cells.keys()) {
    const nodes = admissions.nodes.get(cell) ?? [];
    after.fleets.set(cell, buildFleet(cell, nodes, input.members, before.fleets.get(cell)));
  }
  const allocation = allocateAddresses(input, admissions, previous);
  const statics = planStatics(input, admissions, allocation);
  const usage = usageByGateway(input.nodes);
  const times = timesOf(input);
  const placed = placeGateways(admissions, allocation, previous, usage, before, after, times);
  const operatingCells = new Set([...previous.values()].map((spec) => spec.cell));
  const missingCellInUse = (cell: string) => !admissions.cells.has(cell) && operatingCells.has(cell);
  return {
    placements: placed.placements,
    nodeConfigs: configureNodes(admissions, placed.configs, statics.ofCell, before, after),
    untouched: new Set(
      input.nodes.filter((n) => missingCellInUse(n.spec.cell)).map((node) => node.metadata.name),
    ),
    gateways: placed.statuses,
    floats: statics.floats,
    forwards: statics.forwards,
    ...sayStatuses(input, admissions, allocation, after.fleets),
    withdrawn: new Map(
      [...allocation.grants].filter(([, g]) => g.withdrawn.length > 0).map(([k, g]) => [k, g.withdrawn]),
    ),
    movedSlots: placed.movedSlots,
    nextTurn: nextTurn(placed.placements.values()),
  };
}

function allocateAddresses(
  declared: DeclaredStatics,
  admissions: Admissions,
  previous: ReadonlyMap<string, PlacementSpec>,
): Allocation {
  const usable = new Set(admissions.acceptedPools.map((pool) => pool.metadata.name));
  const requests = admissions.gateways.flatMap((gateway) => {
    const key = keyOfObject(gateway);
    if (admissions.ofGateway.get(key)?.verdict === "rejected") return [];
    const { pool, count } = gateway.spec.addresses;
    const held = previous.get(key)?.addresses ?? [];
    return [{ key, pool, count, previous: held, frozen: !usable.has(pool) }];
  });
  return allocate([...requests, ...requestStatics(declared, usable)], admissions.acceptedPools);
}

interface Placed {
  readonly placements: Map<string, PlacementSpec>;
  readonly statuses: Map<string, GatewayStatus>;
  /** Cell → the configurations of its gateways, older gateways first. */
  readonly configs: Map<string, GatewayConfig[]>;
  movedSlots: number;
}

function placeGateways(
  admissions: Admissions,
  allocation: Allocation,
  previous: ReadonlyMap<string, PlacementSpec>,
  usageOf: ReadonlyMap<string, readonly NodeUsage[]>,
  before: Memory,
  after: Memory,
  times: MoveTimes | undefined,
): Placed {
  const placed: Placed = { placements: new Map(), statuses: new Map(), configs: new Map(), movedSlots: 0 };
  const changeOf = rememberChanges();
  for (const gateway of admissions.gateways) {
    const key = keyOfObject(gateway);
    const admission = admissions.ofGateway.get(key)!;
    const grant = allocation.grants.get(key);
    const use = allocation.pools.get(gateway.spec.addresses.pool);
    const held = previous.get(key);
    const fleet = after.fleets.get(effectiveCell(gateway, admissions.cells, held?.cell));
    const usage = usageOf.get(key) ?? [];
    const facts = { admission, grant, use, fleet, usage };
    if (!grant) {
      placed.statuses.set(
        key,
        gatewayStatus(gateway, { ...facts, placement: undefined, ownership: NO_OWNERSHIP }),
      );
    } else if (!fleet) {
      // Kept although neither the cell it names nor the one it is in exists: not a word of its placement changes.
      const ownership = held ? countOwners(held) : NO_OWNERSHIP;
      if (held) placed.placements.set(key, held);
      placed.statuses.set(key, gatewayStatus(gateway, { ...facts, placement: held, ownership }));
    } else {
      const known = before.gateways.get(key);
      const fresh = placeGateway(gateway, grant.addresses, held, fleet, known, changeOf, times);
      const { placement } = fresh.assignment;
      after.gateways.set(key, fresh);
      placed.placements.set(key, placement);
      placed.statuses.set(key, gatewayStatus(gateway, { ...facts, placement, ownership: fresh.ownership }));
      placed.movedSlots += fresh.assignment.moved;
      const siblings = placed.configs.get(fleet.cell);
      if (siblings) siblings.push(fresh.config);
      else placed.configs.set(fleet.cell, [fresh.config]);
    }
  }
  return placed;
}

function placeGateway(
  gateway: NatGateway,
  addresses: readonly string[],
  previous: PlacementSpec | undefined,
  fleet: Fleet,
  known: RememberedGateway | undefined,
  changeOf: (before: Fleet, after: Fleet) => FleetChange,
  times: MoveTimes | undefined,
): RememberedGateway {
  const { metadata, spec } = gateway;
  if (
    known &&
    !hasMoves(previous) &&
    !hasMoves(known.assignment.placement) &&
    isStillValid(known, gateway, addresses, previous, fleet, changeOf)
  ) {
    if (known.fleet === fleet && known.previous === previous) return known;
    // Once the store has what was planned, the same plan moves nothing.
    const moved = known.previous === previous ? known.assignment.moved : 0;
    return { ...known, fleet, previous, assignment: { ...known.assignment, moved } };
  }
  const assigned = assign(
    {
      gatewayHash: hashText(keyOfObject(gateway)),
      pool: spec.addresses.pool,
      portsPerSlot: spec.ports.perSlot,
      shardSize: spec.shard.size,
      addresses,
      previous,
    },
    fleet,
  );
  const placement = times
    ? carryMoves(keyOfObject(gateway), previous, assigned.placement, fleet, times)
    : assigned.placement;
  const assignment = { ...assigned, placement };
  const config: GatewayConfig = {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    uid: metadata.uid,
    sources: spec.sources,
    portsPerSlot: placement.portsPerSlot,
    allocation: spec.allocation,
    log: spec.log,
    behaviour: natBehaviour(spec),
    nodes: placement.nodes,
    addresses: placement.addresses,
  };
  return { gateway, addresses, previous, fleet, assignment, ownership: countOwners(placement), config };
}

function timesOf(input: PlanInput): MoveTimes | undefined {
  const { now, nodes, nodeConfigs = [], cells, members } = input;
  if (now === undefined) return undefined;
  const seconds = new Map(cells.map(({ metadata, spec }) => [metadata.name, spec.moves?.deadlineSeconds]));
  const isGone = (name: string): boolean => members.get(name) === "gone";
  return moveTimes(now, nodes, nodeConfigs, (cell) => seconds.get(cell), isGone);
}

function hasMoves(placement: PlacementSpec | undefined): boolean {
  return placement?.addresses.some(({ moves }) => moves !== undefined) ?? false;
}

/**
 * Whether planning the gateway anew would give what is remembered: it is declared as before, its previous placement is the same or is what was
 * planned then (planning again changes nothing), and of the nodes only such changed as it does not depend on and may not be given.
 */
function isStillValid(
  known: RememberedGateway,
  gateway: NatGateway,
  addresses: readonly string[],
  previous: PlacementSpec | undefined,
  fleet: Fleet,
  changeOf: (before: Fleet, after: Fleet) => FleetChange,
): boolean {
  if (!sameDeclaration(known.gateway, gateway) || !sameList(known.addresses, addresses)) return false;
  const { placement, involved } = known.assignment;
  if (known.previous !== previous && !(previous && samePlacement(previous, placement))) return false;
  if (known.fleet === fleet) return true;
  if (known.fleet.cell !== fleet.cell) return false;
  const { changed, gained } = changeOf(known.fleet, fleet);
  const touched = (name: string): boolean => changed.has(name);
  return !gained && !previous?.nodes.some(touched) && !involved.some((node) => touched(node.name));
}

/** The store counts the changes of each spec, so equal generations of one object are equal declarations. */
function sameDeclaration(a: NatGateway, b: NatGateway): boolean {
  const [before, after] = [a.metadata, b.metadata];
  return a === b || (after.uid !== "" && before.uid === after.uid && before.generation === after.generation);
}

/** Compares each pair of fleets once. */
function rememberChanges(): (before: Fleet, after: Fleet) => FleetChange {
  const known = new Map<Fleet, { readonly after: Fleet; readonly change: FleetChange }>();
  return (before, after) => {
    const entry = known.get(before);
    if (entry?.after === after) return entry.change;
    const change = compareFleets(before, after);
    known.set(before, { after, change });
    return change;
  };
}

/** The configurations of all nodes. Those of one cell share everything but the node itself and the list of its peers. */
function configureNodes(
  admissions: Admissions,
  configsOfCell: ReadonlyMap<string, readonly GatewayConfig[]>,
  staticsOfCell: ReadonlyMap<string, CellStatics>,
  before: Memory,
  after: Memory,
): ReadonlyMap<string, NodeConfigSpec> {
  const all = new Map<string, NodeConfigSpec>();
  for (const [name, cell] of admissions.cells) {
    const fleet = after.fleets.get(name)!;
    const gateways = configsOfCell.get(name) ?? [];
    const { vxlan, routing } = cell.spec;
    const shared = { fleet, vxlanPort: vxlan.port, routing, gateways, statics: staticsOfCell.get(name) };
    const known = before.configs.get(name);
    const current = known && isStillSo(known, shared) ? known : { ...shared, specs: configureCell(shared) };
    after.configs.set(name, current);
    for (const [node, spec] of current.specs) all.set(node, spec);
  }
  return all;
}

type SharedByCell = Omit<RememberedConfigs, "specs">;

function isStillSo(known: RememberedConfigs, shared: SharedByCell): boolean {
  return (
    known.fleet === shared.fleet &&
    known.vxlanPort === shared.vxlanPort &&
    isDeepStrictEqual(known.routing, shared.routing) &&
    isDeepStrictEqual(known.statics, shared.statics) &&
    sameList(known.gateways, shared.gateways)
  );
}

function configureCell(cell: SharedByCell): ReadonlyMap<string, NodeConfigSpec> {
  const { fleet, vxlanPort, gateways } = cell;
  const peers = fleet.nodes.map(({ name, address }) => ({ name, address }));
  const { floatingAddresses = [], portForwards = [] } = cell.statics ?? {};
  const shared = {
    cell: fleet.cell,
    vxlan: { port: vxlanPort },
    gateways: [...gateways],
    ...(floatingAddresses.length > 0 ? { floatingAddresses: [...floatingAddresses] } : {}),
    ...(portForwards.length > 0 ? { portForwards: [...portForwards] } : {}),
  };
  return new Map(
    fleet.nodes.map(({ name, address, interfaces, routing: own }, i) => {
      const routing = resolveRouting(cell.routing, own);
      const node = { address, interfaces };
      return [name, { ...shared, node, peers: peers.toSpliced(i, 1), ...(routing ? { routing } : {}) }];
    }),
  );
}

function sayStatuses(
  input: PlanInput,
  admissions: Admissions,
  allocation: Allocation,
  fleets: ReadonlyMap<string, Fleet>,
): Pick<Plan, "pools" | "cells" | "nodes"> {
  const pools = new Map<string, PoolStatus>();
  for (const pool of input.pools) {
    const { name } = pool.metadata;
    pools.set(name, poolStatus(pool, admissions.rejectedPools.get(name), allocation.pools.get(name)));
  }
  const cells = new Map<string, CellStatus>();
  for (const [name, cell] of admissions.cells) {
    cells.set(
      name,
      cellStatus(cell, fleets.get(name)!, input.doubted?.get(name) ?? [], input.membershipTrouble),
    );
  }
  const nodes = new Map<string, Verdict>();
  for (const node of input.nodes) {
    const verdict = nodeVerdict(node, admissions.rejectedNodes.get(node.metadata.name));
    if (verdict) nodes.set(node.metadata.name, verdict);
  }
  return { pools, cells, nodes };
}
