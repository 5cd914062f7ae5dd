/** The rule of flows: no planned move and no failure of the control plane drops a packet of an established flow (docs/simulation.md). */
import type { DataplaneStatus } from "../../src/dataplane/dataplane.ts";
import { holdsSlot, type Owner, placeOfSlot, type SlotName } from "../../src/dataplane/model/state.ts";
import { beginning, describeFlow, type Fleet, type Flow, type Hop, textOf, troubleOf } from "./flows.ts";
import type { Machine } from "./machine.ts";
import type { Network } from "./network.ts";
import type { Roles } from "./roles.ts";

export interface FlowWatch {
  /** Lets flows begin in all slots that are served, and others end. */
  turnOver(): void;
  /** Judges the flows when anything has changed that could concern them. Tells what is wrong with one. */
  look(): string | undefined;
  /** The slots that placements speak of, `address/number`: flows whose slot is none of them any more are over, and those that are given up. */
  placed(slots: ReadonlyMap<string, Roles>): void;
  /** Something that packets need is broken from now on, or mended: flows until then, and those that begin before `calmAt`, may break. */
  broken(calmAt: number): void;
}

export interface FlowWatchOptions {
  readonly machines: readonly Machine[];
  readonly network: Network;
  readonly now: () => number;
  /** Whether packets from outside the fleet get to the machine and back. */
  readonly forwards: (machine: Machine) => boolean;
  /** Whether nobody has heard of the machine for so long that it may count as lost: what it has lent others then take for theirs. */
  readonly mayBeLost: (machine: Machine) => boolean;
  /** Whether the gateway of a slot, `address/number`, is rolled out for good: one that is new may be set aside again. */
  readonly serves: (slot: string) => boolean;
}

/** How long flows live, one after the other, in milliseconds. */
const LIFETIMES_MS = [1_000, 4_000, 15_000, 60_000];
/** Until all nodes have heard that a slot is there no more. */
const FORGETTING_MS = 1_500;

export function watchFlows(options: FlowWatchOptions, flows: Set<Flow>): FlowWatch {
  const { machines, network, now } = options;
  let known: readonly unknown[] = [];
  let fleet: Fleet = new Map();
  let slots: ReadonlyMap<string, Roles> = new Map();
  let calmAt = Number.NEGATIVE_INFINITY;
  let births = 0;
  /** Flows of slots that not all nodes know, and since when. */
  const unknownSince = new Map<Flow, number>();

  const refresh = (): boolean => {
    const up = machines.filter(options.forwards);
    const state = [network.changes(), ...up.map((machine) => machine.model())];
    if (state.length === known.length && state.every((value, i) => value === known[i])) return false;
    known = state;
    fleet = fleetOf(up);
    return true;
  };
  const isKnown = (slot: SlotName): boolean =>
    [...fleet.values()].every(({ model }) => placeOfSlot(model, slot) !== undefined);
  const judge = (flow: Flow): string | undefined => {
    if (isQuiet(flow, fleet)) return undefined;
    const trouble = troubleOf(flow, fleet, network);
    if (trouble === undefined) {
      unknownSince.delete(flow);
      return undefined;
    }
    if (flow.bornAt < calmAt || options.mayBeLost(flow.home)) {
      const model = flow.home.model();
      if (!model || !holdsSlot(model, flow.ports)) flows.delete(flow);
      return undefined;
    }
    if (!isKnown(flow.slot) || !isKnown(flow.ports)) {
      const since = unknownSince.get(flow) ?? now();
      unknownSince.set(flow, since);
      if (now() - since < FORGETTING_MS) return undefined;
    }
    return `${describeFlow(flow)}: ${trouble}`;
  };
  return {
    turnOver: () => {
      refresh();
      for (const flow of flows) if (flow.endsAt <= now()) flows.delete(flow);
      for (const slot of slotsOf(fleet)) {
        const text = textOf(slot);
        if (!slots.has(text) || !options.serves(text) || !isKnown(slot)) continue;
        const entries = [...fleet.values()];
        const begun = beginning(slot, entries[births % entries.length]!, fleet, network);
        if (!begun || hasLike(flows, slot, begun.home)) continue;
        const lifetimeMs = LIFETIMES_MS[births % LIFETIMES_MS.length]!;
        births++;
        flows.add({ ...begun, slot, bornAt: now(), endsAt: now() + lifetimeMs });
      }
    },
    look: () => {
      if (!refresh() && unknownSince.size === 0) return undefined;
      for (const flow of flows) {
        const trouble = judge(flow);
        if (trouble !== undefined) return trouble;
      }
      return undefined;
    },
    placed: (placed) => {
      for (const flow of flows) {
        const [was, is] = [slots.get(textOf(flow.slot)), placed.get(textOf(flow.slot))];
        if (is && placed.has(textOf(flow.ports)) && !isForgotten(flow, was, is)) continue;
        flows.delete(flow);
        unknownSince.delete(flow);
      }
      slots = placed;
    },
    broken: (at) => {
      calmAt = at;
    },
  };
}

/** A slot that moves again once its last move is settled forgets who had it before that (docs/moves.md, "What is not kept"). */
function isForgotten({ home }: Flow, was: Roles | undefined, is: Roles): boolean {
  const knewHome = was?.phase === "settled" && was.previous === home.name;
  return knewHome && is.previous !== home.name && is.owner !== home.name;
}

/** Slots whose ports are still this machine's while they are others', and how many flows are in them. */
export function lentBy(
  machine: Pick<Machine, "name" | "model">,
  flows: ReadonlySet<Flow>,
): NonNullable<DataplaneStatus["lent"]> {
  const model = machine.model();
  if (!model) return { slots: 0, sessions: 0 };
  const isLent = (slot: SlotName): boolean => {
    const place = placeOfSlot(model, slot);
    return place?.holder.kind === "self" && place.owner.kind !== "self";
  };
  const slots = [...model.gateways.values()].flatMap(({ places }) => places.flat());
  const lent = slots.filter(({ holder, owner }) => holder.kind === "self" && owner.kind !== "self");
  const inThem = [...flows].filter(({ home, ports }) => home.name === machine.name && isLent(ports));
  return { slots: lent.length, sessions: inThem.length };
}

function fleetOf(machines: readonly Machine[]): Fleet {
  return new Map(
    machines.flatMap((machine): [number, Hop][] => {
      const model = machine.model();
      return model ? [[model.address, { machine, model }]] : [];
    }),
  );
}

/** All slots that any node knows. */
function slotsOf(fleet: Fleet): Iterable<SlotName> {
  const found = new Map<string, SlotName>();
  for (const { model } of fleet.values()) {
    for (const { id, portsPerSlot, addresses, places } of model.gateways.values()) {
      for (const [index, address] of addresses.entries()) {
        for (const number of places[index]?.keys() ?? []) {
          const slot: SlotName = { gateway: id, address, portsPerSlot, number };
          found.set(textOf(slot), slot);
        }
      }
    }
  }
  return found.values();
}

function hasLike(flows: ReadonlySet<Flow>, slot: SlotName, home: Machine): boolean {
  for (const flow of flows) {
    if (flow.home === home && flow.slot.number === slot.number && flow.slot.address === slot.address)
      return true;
  }
  return false;
}

/** All nodes agree that the flow's slot is its home's and nobody else's, and that it is alive: its packets get there from everywhere. */
function isQuiet({ slot, ports, home }: Flow, fleet: Fleet): boolean {
  if (slot.number !== ports.number) return false;
  let address: number | undefined;
  for (const { machine, model } of fleet.values()) if (machine === home) address = model.address;
  if (address === undefined) return false;
  for (const { machine, model } of fleet.values()) {
    const place = placeOfSlot(model, slot);
    const isHome = (owner: Owner): boolean =>
      machine === home ? owner.kind === "self" : owner.kind === "peer" && owner.address === address;
    if (!place || !isHome(place.owner) || !isHome(place.holder) || model.dead.has(address)) return false;
  }
  return true;
}
