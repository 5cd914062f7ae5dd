/**
 * Moves: what a changed owner means for a slot's flows (docs/moves.md). Compares a placement with the one before, and turns each slot that moves, or
 * is in a move, to its next phase. All that a move is stands in the placement, so a new controller goes on where the last one stopped.
 */
import type { GatewayNode } from "../model/gateway-node.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import { NOBODY, type PlacedAddress, type SlotMove } from "../model/placement.ts";
import { slotRoles } from "../model/slot-roles.ts";
import { type PlacementSpec, samePlacement } from "./assignment.ts";
import type { Fleet } from "./fleet.ts";

export const DEFAULT_MOVE_SECONDS = 600;
/** How long the previous owner is given to let go of the ports before its report counts: packets that are under way arrive meanwhile. */
const CLEARING_MS = 2_000;

/** What the phases of moves depend on. */
export interface MoveTimes {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** How long a phase with flows in it lasts at most when this node is the previous owner, in milliseconds. */
  readonly limitMs: (node: string) => number;
  /** Whether the node has no sessions left in slots that are not its own any more. */
  readonly isEmpty: (node: string) => boolean;
  /** Whether the node neither reports nor forwards. */
  readonly isGone: (node: string) => boolean;
  /** Whether the node is sure not to hold the slot of this gateway (`namespace/name`): it applied a configuration that says so, or it is gone. */
  readonly hasLetGo: (node: string, gateway: string, address: string, slot: number) => boolean;
}

/** The placement with its moves; `before` itself when nothing changes. */
export function carryMoves(
  gateway: string,
  before: PlacementSpec | undefined,
  after: PlacementSpec,
  fleet: Fleet,
  times: MoveTimes,
): PlacementSpec {
  if (before?.portsPerSlot !== after.portsPerSlot || before.cell !== after.cell) return after;
  const earlier = new Map(before.addresses.map((placed) => [placed.address, placed]));
  const nodes = [...after.nodes];
  const indexOf = (name: string): number => {
    const known = nodes.indexOf(name);
    return known >= 0 ? known : nodes.push(name) - 1;
  };
  const addresses = after.addresses.map((placed) => {
    const was = earlier.get(placed.address);
    const moves = was ? movesOf(gateway, before, was, after, placed, fleet, times) : [];
    if (moves.length === 0) return placed;
    return { ...placed, moves: moves.map(({ from, ...move }) => ({ ...move, from: indexOf(from) })) };
  });
  const result = { ...after, nodes, addresses };
  return samePlacement(before, result) ? before : result;
}

/** A move with the previous owner's name in place of its index. */
type NamedMove = Omit<SlotMove, "from"> & { readonly from: string };

function movesOf(
  gateway: string,
  before: PlacementSpec,
  was: PlacedAddress,
  after: PlacementSpec,
  placed: PlacedAddress,
  fleet: Fleet,
  times: MoveTimes,
): readonly NamedMove[] {
  const known = new Map((was.moves ?? []).map((move) => [move.slot, move]));
  return placed.owners.flatMap((index, slot) => {
    const owner = after.nodes[index];
    const previous = before.nodes[was.owners[slot] ?? NOBODY];
    const current = known.get(slot);
    const from = current && before.nodes[current.from];
    const move = current && from !== undefined ? { ...current, from } : undefined;
    if (owner === undefined) return [];
    const next =
      owner === previous
        ? turn(gateway, was.address, move, times)
        : begin(slot, owner, previous, move, times);
    return next && next.from !== owner && fleet.byName.has(next.from) ? [next] : [];
  });
}

/** A slot has another owner now. */
function begin(
  slot: number,
  owner: string,
  previous: string | undefined,
  current: NamedMove | undefined,
  times: MoveTimes,
): NamedMove | undefined {
  // The ports are still those of the owner before the last one. If it is the owner again, only new flows were ever elsewhere.
  if (current && current.phase !== "settled" && current.from !== owner) return current;
  if (previous === undefined) return undefined;
  const isBack = current !== undefined && current.phase !== "settled";
  // The flows of a node that is gone are broken. If it was only cut off it finds on its return that its sessions do not count any more.
  const first = times.isGone(previous) ? "clearing" : "shared";
  return inPhase(isBack ? "settled" : first, slot, previous, times.now, times);
}

/** A slot in a move has kept its owner: it may be time for the next phase. A deadline that was changed holds for what is under way, too. */
function turn(
  gateway: string,
  address: string,
  move: NamedMove | undefined,
  times: MoveTimes,
): NamedMove | undefined {
  if (!move) return undefined;
  const { slot, from } = move;
  const { now, isEmpty, isGone, hasLetGo } = times;
  const current = inPhase(move.phase, slot, from, Date.parse(move.since), times);
  const isOver = now >= Date.parse(current.until);
  switch (move.phase) {
    case "shared":
      return isOver || isEmpty(from) || isGone(from) ? inPhase("clearing", slot, from, now, times) : current;
    case "clearing":
      return isOver && hasLetGo(from, gateway, address, slot)
        ? inPhase("settled", slot, from, now, times)
        : current;
    case "settled":
      return isOver ? undefined : current;
  }
}

function inPhase(
  phase: SlotMove["phase"],
  slot: number,
  from: string,
  since: number,
  { limitMs }: MoveTimes,
): NamedMove {
  const lengthMs = phase === "clearing" ? CLEARING_MS : limitMs(from);
  return { slot, from, phase, since: iso(since), until: iso(since + lengthMs) };
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

/** When the next phase of any move may begin (ms since 1970); undefined when none is under way. */
export function nextTurn(placements: Iterable<PlacementSpec>): number | undefined {
  let next: number | undefined;
  for (const { addresses } of placements) {
    for (const { moves = [] } of addresses) {
      for (const { until } of moves) {
        const at = Date.parse(until);
        if (next === undefined || at < next) next = at;
      }
    }
  }
  return next;
}

/** What the nodes say of moves; `isGone` tells who neither reports nor forwards. */
export function moveTimes(
  now: number,
  nodes: readonly GatewayNode[],
  nodeConfigs: readonly NodeConfig[],
  cellSeconds: (cell: string) => number | undefined,
  isGone: (node: string) => boolean,
): MoveTimes {
  const declared = new Map(nodes.map((node) => [node.metadata.name, node]));
  const configs = new Map(nodeConfigs.map((config) => [config.metadata.name, config]));
  /** The configuration that the node runs, if it is the one that is stored. */
  const appliedBy = (name: string): NodeConfig["spec"] | undefined => {
    const config = configs.get(name);
    const applied = declared.get(name)?.status?.applied;
    return config && applied?.generation === config.metadata.generation ? config.spec : undefined;
  };
  return {
    now,
    isGone,
    limitMs(name) {
      const spec = declared.get(name)?.spec;
      const own = spec?.drain ? spec.drainSeconds : undefined;
      return 1000 * (own ?? cellSeconds(spec?.cell ?? "") ?? DEFAULT_MOVE_SECONDS);
    },
    isEmpty(name) {
      const moving = declared.get(name)?.status?.moving;
      const spec = appliedBy(name);
      return (
        moving?.sessions === 0 &&
        moving.slots > 0 &&
        spec !== undefined &&
        moving.slots === lentBy(spec, name)
      );
    },
    hasLetGo(name, gateway, address, slot) {
      if (isGone(name)) return true;
      const spec = appliedBy(name);
      const config = spec?.gateways.find((g) => `${g.namespace}/${g.name}` === gateway);
      const placed = config?.addresses.find((a) => a.address === address);
      if (!spec || !config || !placed) return spec !== undefined;
      return slotRoles(placed, config, name)[slot]?.holder !== config.nodes.indexOf(name);
    },
  };
}

/** How many slots a node holds that are another's by now. */
function lentBy(spec: NodeConfig["spec"], name: string): number {
  const ofGateway = ({ nodes, addresses }: GatewayConfig): number =>
    addresses.flatMap(({ moves = [] }) => moves).filter((m) => m.phase === "shared" && nodes[m.from] === name)
      .length;
  return spec.gateways.reduce((sum, gateway) => sum + ofGateway(gateway), 0);
}
