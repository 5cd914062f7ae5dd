/** The whole of a simulated cell: a store, two controllers that stand for election, machines with their agents, and an operator. */
import { type Controller, startController } from "../../src/controller/controller.ts";
import { openStoreElection } from "../../src/controller/store-election.ts";
import { openStoreMembership } from "../../src/membership/store-membership.ts";
import type { Kind, ObjectOf } from "../../src/model/kinds.ts";
import { API_VERSION } from "../../src/model/meta.ts";
import { validateObject } from "../../src/model/validate.ts";
import { openMemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectKey, Store } from "../../src/store/store.ts";
import { interceptCalls } from "../../src/store/testing/intercepted-store.ts";
import type { Random } from "../chaos/random.ts";
import { lentBy } from "./flow-rule.ts";
import type { Flow } from "./flows.ts";
import { type Machine, simMachine } from "./machine.ts";
import { type Network, remoteStore, simNetwork } from "./network.ts";
import { SILENT } from "./silence.ts";
import { type SimProcess, type VirtualTime, virtualTime } from "./virtual-time.ts";

export const CELL = "c1";
export const TTL_SECONDS = 3;
export const MAX_LOSS_PERCENT = 50;
/** How often a controller judges the heartbeats. */
const TICK_MS = 250;

/** One controller, which is started again and again. */
export interface ControllerSeat {
  readonly place: string;
  process(): SimProcess | undefined;
  start(): void;
  kill(): void;
}

export interface World {
  readonly time: VirtualTime;
  readonly network: Network;
  /** The store itself, where nothing is late or lost. */
  readonly store: Store;
  readonly machines: readonly Machine[];
  readonly controllers: readonly ControllerSeat[];
  readonly random: Random;
  /** The flows that there are; each has its session on one machine. */
  readonly flows: Set<Flow>;
  /** Aborted at the end of the life. */
  readonly ended: AbortSignal;
  end(): void;
  /** Declares an object, whatever is there. */
  declare<K extends Kind>(kind: K, name: string, change: (before: ObjectOf<K> | undefined) => unknown): void;
  /** Lets something be looked at after each event. */
  watch(look: () => void): void;
  looks(): readonly (() => void)[];
}

export interface WorldOptions {
  readonly machines?: number;
  /** What is weakened to see whether anybody notices. */
  readonly mutation?: Mutation;
  /** Told after each call of a controller has taken place in the store, before the controller hears of it. */
  readonly onControllerCall?: (controller: ControllerSeat) => void;
}

/** `obey-mass-loss`: doubt is switched off. `mute-witnesses`: agents do not tell whom they see. `hasty-moves`: they tell of no flows that a move waits for. */
export const MUTATIONS = ["obey-mass-loss", "mute-witnesses", "hasty-moves"] as const;
export type Mutation = (typeof MUTATIONS)[number];

export function openWorld(random: Random, { machines = 4, mutation, onControllerCall }: WorldOptions): World {
  const time = virtualTime();
  const network = simNetwork(random);
  const server = time.process();
  const store = openMemoryStore({ clock: server.clock, bookmarkMs: 1_000, birth: births(server) });
  const ending = new AbortController();
  const looks: (() => void)[] = [];
  const byName = new Map<string, Machine>();
  const flows = new Set<Flow>();
  for (let number = 1; number <= machines; number++) {
    const name = `n${number}`;
    const answers = (peer: string): boolean => byName.get(peer)?.programmed() !== undefined;
    const mute = mutation === "mute-witnesses";
    const lent = () => lentBy(byName.get(name)!, mutation === "hasty-moves" ? new Set() : flows);
    const base = { cell: CELL, store, time, network, random, answers, lent, mute, onChange: () => {} };
    byName.set(name, simMachine({ ...base, name, number }));
  }
  return {
    ...{ time, network, store, random, flows },
    ended: ending.signal,
    end: () => ending.abort(),
    machines: [...byName.values()],
    controllers: ["control1", "control2"].map((place) =>
      controllerSeat(place, store, time, network, onControllerCall),
    ),
    declare: (kind, name, change) => void declare(store, kind, name, change),
    watch: (look) => void looks.push(look),
    looks: () => looks,
  };
}

/** Declares the cell and its pool, and starts everything. */
export async function begin(world: World, mutation: Mutation | undefined): Promise<void> {
  const maxLossPercent = mutation === "obey-mass-loss" ? 100 : MAX_LOSS_PERCENT;
  const membership = { ttlSeconds: TTL_SECONDS, maxLossPercent };
  world.declare("Cell", CELL, () => ({ membership, rollout: { bakeSeconds: 1, reportSeconds: 10 } }));
  world.declare("AddressPool", "p1", () => ({ cidrs: ["203.0.113.0/28"] }));
  for (const name of ["g1", "g2"]) declareGateway(world, name, {});
  for (const machine of world.machines) machine.startAgent();
  for (const controller of world.controllers) controller.start();
}

export function declareGateway(
  world: World,
  name: string,
  change: { readonly count?: number; readonly udp?: number },
): void {
  const { count = 1, udp = 300 } = change;
  world.declare("NatGateway", name, () => ({
    cell: CELL,
    sources: [`10.0.${name.slice(1)}.0/24`],
    addresses: { pool: "p1", count },
    ports: { perSlot: 9216 },
    timeouts: { udp },
  }));
}

function controllerSeat(
  place: string,
  store: Store,
  time: VirtualTime,
  network: Network,
  onCall: WorldOptions["onControllerCall"],
): ControllerSeat {
  let process: SimProcess | undefined;
  let starts = 0;
  const told = onCall
    ? interceptCalls(store, (work) => work().finally(() => process && onCall(seat)))
    : store;
  const seat: ControllerSeat = {
    place,
    process: () => process,
    start: () => {
      if (process) return;
      process = time.process();
      starts++;
      openController(process, remoteStore(told, place, process, network), `${place}-${starts}`);
    },
    kill: () => {
      process?.kill();
      process = undefined;
    },
  };
  return seat;
}

function openController({ clock }: SimProcess, store: Store, holder: string): Controller {
  const membership = openStoreMembership(store, { clock, tickMs: TICK_MS });
  const election = openStoreElection({ store, group: "controllers", holder, logger: SILENT, clock });
  return startController({ store, membership, election, logger: SILENT, clock });
}

/** Uids and times of birth that the seed decides. */
function births({ clock }: SimProcess) {
  let born = 0;
  return () => {
    born++;
    return { uid: `uid-${born}`, creationTimestamp: new Date(clock.now()).toISOString() };
  };
}

async function declare<K extends Kind>(
  store: Store,
  kind: K,
  name: string,
  change: (before: ObjectOf<K> | undefined) => unknown,
): Promise<void> {
  const namespace = kind === "NatGateway" ? "t" : undefined;
  const key: ObjectKey<K> = { kind, name, namespace };
  const before = await store.get(key);
  const spec = change(before);
  if (spec === undefined) {
    if (before) await store.delete(key);
    return;
  }
  const metadata = before?.metadata ?? { name, ...(namespace ? { namespace } : {}) };
  const draft = validateObject({
    apiVersion: API_VERSION,
    kind,
    metadata: { ...metadata, resourceVersion: "" },
    spec,
  });
  await (before ? store.update(draft) : store.create(draft));
}
