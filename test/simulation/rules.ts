/**
 * The rules that never bend, watched over a simulated cell at every moment. Bounds are milliseconds of virtual time; docs/simulation.md says where
 * they come from and what is excepted.
 */
import { LOSSY_SILENCE } from "../../src/agent/peer-liveness.ts";
import type { ObjectOf } from "../../src/model/kinds.ts";
import type { RolloutSpec } from "../../src/model/rollout.ts";
import { MEMBERSHIP_DOUBTED } from "../../src/planner/statuses.ts";
import { hasSame } from "../../src/rollout/policy.ts";
import { policyOfNode } from "../../src/rollout/progress.ts";
import { watchFlows } from "./flow-rule.ts";
import { type Machine, PROBE_MS } from "./machine.ts";
import { STORE, WORLD } from "./network.ts";
import { type Roles, rolesIn } from "./roles.ts";
import { MAX_LOSS_PERCENT, TTL_SECONDS, type World } from "./world.ts";

export interface Violation {
  readonly at: number;
  readonly rule:
    | "one owner"
    | "some owner"
    | "stand in"
    | "no theft"
    | "mass loss"
    | "staged"
    | "flows"
    | "convergence";
  readonly message: string;
}

/** Until nodes that hear the store do what it says. */
const PROPAGATION_MS = 1_500;
/** Until everybody has found back to the store after a disturbance: silence noticed, retries at their longest, an election. */
const RECOVERY_MS = 14_000;
/** Silence of an agent, of its dataplane, the controller's answer, and its way to the heirs. */
const DETECTION_MS = TTL_SECONDS * 1000 + 2_000 + PROPAGATION_MS;
/** Until a peer that is seen is vouched for in the store. */
const VOUCHING_MS = 5_000;
/** Until a backup stands in for an owner that is gone, whatever has become of store and controllers: as many looks as it takes on a link that lost packets. */
const STAND_IN_MS = (LOSSY_SILENCE + 3) * PROBE_MS;
const LOSS_WINDOW_MS = 10_000;

export interface RuleBook {
  readonly violations: readonly Violation[];
  /** Something was broken or mended; `packets`: of what packets need. */
  disturbed(packets: boolean): void;
  /** Lets flows begin and end. */
  turnOverFlows(): void;
  add(violation: Omit<Violation, "at">): void;
}

type Placed = ReadonlyMap<string, Roles>;

export function watchRules(world: World): RuleBook {
  const violations: Violation[] = [];
  let disturbedAt = Number.NEGATIVE_INFINITY;
  const add = (violation: Omit<Violation, "at">): void => {
    violations.push({ at: Math.round(world.time.now()), ...violation });
  };
  const calmForMs = (): number => world.time.now() - disturbedAt;
  const contacts = watchContacts(world);
  const said = watchSayings(world);
  const claims = watchClaims(world, add, calmForMs, contacts, said);
  /** `address/number` of a slot → the name of its gateway. */
  const gatewayOf = new Map<string, string>();
  const flows = watchFlows(
    {
      machines: world.machines,
      network: world.network,
      now: world.time.now,
      forwards: (machine) => forwards(world, machine),
      mayBeLost: ({ name }) => world.time.now() - (contacts.silentAt(name) ?? -RECOVERY_MS) < RECOVERY_MS,
      serves: (slot) => said.serves(`${gatewayOf.get(slot)} `),
    },
    world.flows,
  );
  const placed = (slots: Placed): void => {
    claims.placed(slots);
    const placedRoles = new Map<string, Roles>();
    for (const [key, roles] of slots) {
      const [gateway = "", slot = ""] = key.split(" ");
      gatewayOf.set(slot, gateway);
      placedRoles.set(slot, roles);
    }
    flows.placed(placedRoles);
  };
  void watchPlacements(world, add, contacts, placed);
  void watchConfigs(world, add);
  world.watch(() => {
    contacts.look();
    claims.look();
    const trouble = flows.look();
    if (trouble !== undefined) add({ rule: "flows", message: trouble });
  });
  return {
    violations,
    turnOverFlows: flows.turnOver,
    disturbed: (packets) => {
      disturbedAt = world.time.now();
      if (packets) flows.broken(disturbedAt + RECOVERY_MS);
    },
    add,
  };
}

/** Whether packets get to the machine and it does something with them. */
export function forwards({ network }: World, machine: Machine): boolean {
  const { name } = machine;
  return machine.programmed() !== undefined && network.reaches(WORLD, name) && network.reaches(name, WORLD);
}

interface Contacts {
  look(): void;
  inTouch(name: string): boolean;
  /** For how long its agent has not run, or has been cut off from the store. */
  awayForMs(name: string): number;
  /** When it was last away for so long that its silence was noticed; undefined: never. */
  silentAt(name: string): number | undefined;
  /** Since when somebody in touch has seen it without a break; undefined: nobody does. */
  seenSince(name: string): number | undefined;
  /** For how long its agent has run, on a network that loses nothing. */
  steadyForMs(name: string): number;
}

/** Which agents hear the store, and which machines are seen by one that does. */
function watchContacts(world: World): Contacts {
  const { network, machines, time } = world;
  const touchedSince = new Map<string, number>();
  const seenSince = new Map<string, number>();
  const steadySince = new Map<string, number>();
  const awaySince = new Map<string, number>();
  const silentAt = new Map<string, number>();
  const runs = ({ agent }: Machine): boolean => (agent()?.running() ?? false) && network.isCalm();
  const isConnected = ({ name }: Machine): boolean =>
    network.reaches(name, STORE) && network.reaches(STORE, name);
  const hearsStore = (machine: Machine): boolean => runs(machine) && isConnected(machine);
  // A network that loses or delays something is no silence: what is planned meanwhile is heard of.
  const isAway = (machine: Machine): boolean => !machine.agent()?.running() || !isConnected(machine);
  const note = (since: Map<string, number>, name: string, holds: boolean): void => {
    if (!holds) since.delete(name);
    else if (!since.has(name)) since.set(name, time.now());
  };
  const sees = (observer: Machine, seen: Machine): boolean =>
    observer !== seen &&
    touchedSince.has(observer.name) &&
    network.reaches(observer.name, seen.name) &&
    network.reaches(seen.name, observer.name);
  return {
    look: () => {
      for (const machine of machines) {
        note(touchedSince, machine.name, hearsStore(machine));
        note(awaySince, machine.name, isAway(machine));
        const away = awaySince.get(machine.name);
        if (away !== undefined && time.now() - away >= TTL_SECONDS * 1000)
          silentAt.set(machine.name, time.now());
        note(steadySince, machine.name, runs(machine) && machine.programmed() !== undefined);
      }
      for (const machine of machines) {
        const seen = machine.programmed() !== undefined && machines.some((other) => sees(other, machine));
        note(seenSince, machine.name, seen);
      }
    },
    inTouch: (name) => touchedSince.has(name),
    awayForMs: (name) => time.now() - (awaySince.get(name) ?? time.now()),
    silentAt: (name) => silentAt.get(name),
    seenSince: (name) => seenSince.get(name),
    steadyForMs: (name) => time.now() - (steadySince.get(name) ?? time.now()),
  };
}

/** What the controller has said. */
interface Sayings {
  /** It does not believe that so many nodes are lost, and waits for people. */
  doubtful(): boolean;
  /** The slot's gateway is not new, nor set aside. */
  serves(slot: string): boolean;
}

function watchSayings({ store, ended }: World): Sayings {
  let doubtful = false;
  let good: ReadonlySet<string> = new Set();
  const follow = async <K extends "Cell" | "Rollout">(kind: K, note: (object: ObjectOf<K>) => void) => {
    for await (const event of store.watch({ kind }, (await store.list({ kind })).resourceVersion, ended)) {
      if (event.type !== "BOOKMARK") note(event.object);
    }
  };
  void follow("Cell", ({ status }) => {
    doubtful = status?.conditions.some((c) => c.type === MEMBERSHIP_DOUBTED && c.status === "True") ?? false;
  });
  void follow("Rollout", ({ spec }) => {
    good = new Set(spec.good.gateways.map(({ name }) => name));
  });
  return { doubtful: () => doubtful, serves: (slot) => good.has(slot.slice(0, slot.indexOf(" "))) };
}

interface Claims {
  look(): void;
  /** The slots that placements speak of. */
  placed(slots: Placed): void;
}

/** One holder, and some owner: who gives out the ports of each slot, and who takes its new flows. */
function watchClaims(
  world: World,
  add: RuleBook["add"],
  calmForMs: () => number,
  contacts: Contacts,
  said: Sayings,
): Claims {
  const { machines, time } = world;
  const several = new Map<string, { readonly holders: string; readonly at: number }>();
  const orphans = new Map<string, number>();
  /** Slots that somebody ever took flows for. */
  const served = new Set<string>();
  let slots: Placed = new Map();
  let known: readonly unknown[] = [];

  const refresh = (): void => {
    const up = machines.filter((machine) => forwards(world, machine));
    const state = [slots, ...up.flatMap((machine) => [machine.programmed(), machine.steersAround()])];
    if (state.length === known.length && state.every((value, i) => value === known[i])) return;
    known = state;
    const claims = claimsOf(up);
    for (const slot of [...several.keys(), ...orphans.keys()]) {
      if (slots.has(slot)) continue;
      several.delete(slot);
      orphans.delete(slot);
    }
    for (const slot of slots.keys()) {
      const { holders = [], takers = [] } = claims.get(slot) ?? {};
      if (holders.length < 2) several.delete(slot);
      else if (!several.has(slot)) several.set(slot, { holders: holders.join(" and "), at: time.now() });
      if (takers.length > 0) {
        served.add(slot);
        orphans.delete(slot);
      } else if (served.has(slot) && !orphans.has(slot)) orphans.set(slot, time.now());
    }
  };
  const checkOrphan = (slot: string, ms: number): void => {
    if (!said.serves(slot)) return;
    if (ms > DETECTION_MS && calmForMs() > DETECTION_MS && !said.doubtful() && mayBeGiven(world, contacts)) {
      add({ rule: "some owner", message: `${slot}: nobody takes new flows for ${Math.round(ms)} ms` });
    }
    const backup = machines.find(
      (machine) => contacts.steadyForMs(machine.name) > STAND_IN_MS && mayStandIn(world, machine, slot),
    );
    if (backup && ms > STAND_IN_MS) {
      const message = `${slot}: its backup ${backup.name} does not stand in for ${Math.round(ms)} ms`;
      add({ rule: "stand in", message });
    }
  };
  return {
    look: () => {
      refresh();
      for (const [slot, { holders, at }] of several) {
        const ms = time.now() - at;
        if (ms > PROPAGATION_MS && calmForMs() > RECOVERY_MS) {
          add({
            rule: "one owner",
            message: `${slot}: ${holders} give out its ports for ${Math.round(ms)} ms`,
          });
        }
      }
      for (const [slot, at] of orphans) checkOrphan(slot, time.now() - at);
    },
    placed: (placed) => {
      slots = placed;
    },
  };
}

/** The machines that would give out the ports of a slot, and those that would take new flows of it. */
export interface SlotClaims {
  readonly holders: string[];
  readonly takers: string[];
}

export function claimsOf(machines: readonly Machine[]): ReadonlyMap<string, SlotClaims> {
  const claims = new Map<string, SlotClaims>();
  for (const machine of machines) {
    const spec = machine.programmed();
    const dead = new Set(machine.steersAround());
    const gone = new Set(spec?.peers.filter(({ address }) => dead.has(address)).map(({ name }) => name));
    for (const gateway of spec?.gateways ?? []) {
      for (const [slot, { owner, holder, backup }] of rolesIn(gateway.name, gateway)) {
        const known = claims.get(slot) ?? { holders: [], takers: [] };
        claims.set(slot, known);
        if (holder === machine.name) known.holders.push(machine.name);
        const standsIn = backup === machine.name && owner !== undefined && gone.has(owner);
        if (owner === machine.name || standsIn) known.takers.push(machine.name);
      }
    }
  }
  return claims;
}

/** By its own configuration the machine is next in line for the slot, and the owner does nothing. */
function mayStandIn(world: World, machine: Machine, slot: string): boolean {
  if (!forwards(world, machine)) return false;
  for (const gateway of machine.programmed()?.gateways ?? []) {
    const roles = rolesIn(gateway.name, gateway).get(slot);
    if (!roles) continue;
    const owner = world.machines.find(({ name }) => name === roles.owner);
    return roles.backup === machine.name && owner !== undefined && !forwards(world, owner);
  }
  return false;
}

/** Whether a slot without an owner can be given to somebody: a controller is at work, and enough nodes are well for the news to be believed. */
function mayBeGiven(world: World, contacts: Contacts): boolean {
  const { network, machines, controllers } = world;
  const works = controllers.some(
    ({ place, process }) =>
      process()?.running() &&
      network.reaches(place, STORE) &&
      network.reaches(STORE, place) &&
      network.isCalm(),
  );
  const well = machines.filter(
    (machine) => contacts.inTouch(machine.name) && forwards(world, machine) && !machine.dataplaneBroken(),
  );
  return works && well.length * 2 > machines.length;
}

/** No theft, and no mass loss: from whom the controller takes slots. */
async function watchPlacements(
  world: World,
  add: RuleBook["add"],
  contacts: Contacts,
  onPlaced: (slots: Placed) => void,
): Promise<void> {
  const placements = new Map<string, Placed>();
  const losses = new Map<string, number>();
  for await (const event of world.store.watch({ kind: "Placement" }, await revision(world), world.ended)) {
    if (event.type === "BOOKMARK") continue;
    const { name } = event.object.metadata;
    const before = placements.get(name) ?? new Map();
    const after = event.type === "DELETED" ? new Map() : rolesIn(name, event.object.spec);
    placements.set(name, after);
    onPlaced(new Map([...placements.values()].flatMap((slots) => [...slots])));
    for (const loser of losersOf(before, after)) await judgeLoss(world, add, contacts, losses, loser);
  }
}

function losersOf(before: Placed, after: Placed): ReadonlySet<string> {
  const losers = new Set<string>();
  for (const [slot, { owner }] of before) {
    if (owner !== undefined && after.has(slot) && after.get(slot)?.owner !== owner) losers.add(owner);
  }
  return losers;
}

async function judgeLoss(
  world: World,
  add: RuleBook["add"],
  contacts: Contacts,
  losses: Map<string, number>,
  loser: string,
): Promise<void> {
  const machine = world.machines.find(({ name }) => name === loser)!;
  const now = world.time.now();
  const node = await world.store.get({ kind: "GatewayNode", name: loser });
  // Before an agent's silence can be noticed, its node counts as any other, and a move is one that it will hear of.
  const unnoticed = contacts.awayForMs(loser) < TTL_SECONDS * 1000;
  const planned = !node || node.spec.drain || node.spec.weight !== 100 || unnoticed;
  const unready = node?.status?.conditions.some(({ type, status }) => type === "Ready" && status === "False");
  if (planned || unready || !forwards(world, machine)) return;
  const seenSince = contacts.seenSince(loser);
  if (seenSince !== undefined && now - seenSince > VOUCHING_MS) {
    add({
      rule: "no theft",
      message: `${loser} is seen to forward and loses slots, though it cannot hear of it`,
    });
  }
  losses.set(loser, now);
  const recent = [...losses].filter(([, at]) => now - at < LOSS_WINDOW_MS).map(([name]) => name);
  const present = world.machines.length - [...losses].filter(([, at]) => now - at >= LOSS_WINDOW_MS).length;
  if (recent.length > 1 && (100 * recent.length) / present > MAX_LOSS_PERCENT) {
    add({
      rule: "mass loss",
      message: `${recent.join(", ")} forward, and lose their slots at once for being silent`,
    });
  }
}

/** Staged: no node is given a policy that the record of the rollout does not give it. */
async function watchConfigs(world: World, add: RuleBook["add"]): Promise<void> {
  const { store } = world;
  for await (const event of store.watch({ kind: "NodeConfig" }, await revision(world), world.ended)) {
    if (event.type === "BOOKMARK" || event.type === "DELETED") continue;
    const { metadata, spec } = event.object;
    const rollout: RolloutSpec | undefined = (await store.get({ kind: "Rollout", name: spec.cell }))?.spec;
    const stray = spec.gateways.find((g) => !rollout || !hasSame(policyOfNode(rollout, metadata.name), g));
    if (stray) {
      const message = `${metadata.name} is given gateway ${stray.name} as no step of the rollout gives it`;
      add({ rule: "staged", message });
    }
  }
}

async function revision({ store }: World): Promise<string> {
  return (await store.list({ kind: "Cell" })).resourceVersion;
}
