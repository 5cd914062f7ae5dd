/**
 * The rules that never bend, watched over a simulated cell at every moment. Bounds are milliseconds of virtual time; docs/simulation.md says where
 * they come from and what is excepted.
 */
import type { ObjectOf } from "../../src/model/kinds.ts";
import type { Placement } from "../../src/model/placement.ts";
import type { RolloutSpec } from "../../src/model/rollout.ts";
import { MEMBERSHIP_DOUBTED } from "../../src/planner/statuses.ts";
import { hasSame } from "../../src/rollout/policy.ts";
import { policyOfNode } from "../../src/rollout/progress.ts";
import type { Machine } from "./machine.ts";
import { STORE, WORLD } from "./network.ts";
import { MAX_LOSS_PERCENT, ownersIn, TTL_SECONDS, type World } from "./world.ts";

export interface Violation {
  readonly at: number;
  readonly rule: "one owner" | "some owner" | "no theft" | "mass loss" | "staged" | "convergence";
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
const LOSS_WINDOW_MS = 10_000;

export interface RuleBook {
  readonly violations: readonly Violation[];
  /** Something was broken or mended. */
  disturbed(): void;
  add(violation: Omit<Violation, "at">): void;
}

type Owners = ReadonlyMap<string, string | undefined>;

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
  void watchPlacements(world, add, contacts, claims.placed);
  void watchConfigs(world, add);
  world.watch(() => {
    contacts.look();
    claims.look();
  });
  return {
    violations,
    disturbed: () => {
      disturbedAt = world.time.now();
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
  /** Since when somebody in touch has seen it without a break; undefined: nobody does. */
  seenSince(name: string): number | undefined;
}

/** Which agents hear the store, and which machines are seen by one that does. */
function watchContacts(world: World): Contacts {
  const { network, machines, time } = world;
  const touchedSince = new Map<string, number>();
  const seenSince = new Map<string, number>();
  const hearsStore = ({ name, agent }: Machine): boolean =>
    (agent()?.running() ?? false) &&
    network.reaches(name, STORE) &&
    network.reaches(STORE, name) &&
    network.isCalm();
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
      for (const machine of machines) note(touchedSince, machine.name, hearsStore(machine));
      for (const machine of machines) {
        const seen = machine.programmed() !== undefined && machines.some((other) => sees(other, machine));
        note(seenSince, machine.name, seen);
      }
    },
    inTouch: (name) => touchedSince.has(name),
    seenSince: (name) => seenSince.get(name),
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
  /** The slots that placements speak of, and their owners. */
  placed(owners: Owners): void;
}

/** One owner, and some owner: who does something with the packets of each slot. */
function watchClaims(
  world: World,
  add: RuleBook["add"],
  calmForMs: () => number,
  contacts: Contacts,
  said: Sayings,
): Claims {
  const { machines, time } = world;
  /** Slots that not exactly one machine accepts new flows for, and since when that is so. */
  const since = new Map<string, { readonly owners: string; readonly at: number }>();
  const held = new Set<string>();
  let slots: Owners = new Map();
  let known: readonly unknown[] = [];

  const refresh = (): void => {
    const state = [...machines.map((machine) => forwards(world, machine) && machine.programmed()), slots];
    if (state.every((value, i) => value === known[i])) return;
    known = state;
    const claimants = claimantsOf(machines.filter((machine) => forwards(world, machine)));
    for (const slot of claimants.keys()) held.add(slot);
    for (const slot of since.keys()) if (!slots.has(slot)) since.delete(slot);
    for (const slot of slots.keys()) {
      const claiming = claimants.get(slot) ?? [];
      const owners = claiming.join(" and ");
      const before = since.get(slot);
      if (claiming.length === 1 || !held.has(slot)) since.delete(slot);
      else if (!before || (before.owners === "") !== (owners === ""))
        since.set(slot, { owners, at: time.now() });
    }
  };
  const check = (slot: string, owners: string, ms: number): void => {
    if (owners !== "" && ms > PROPAGATION_MS && calmForMs() > RECOVERY_MS) {
      add({ rule: "one owner", message: `${slot}: ${owners} accept new flows for ${Math.round(ms)} ms` });
    }
    const patient = owners === "" && ms > DETECTION_MS && calmForMs() > DETECTION_MS;
    if (patient && !said.doubtful() && said.serves(slot) && mayBeGiven(world, contacts)) {
      add({ rule: "some owner", message: `${slot}: nobody accepts new flows for ${ms} ms` });
    }
  };
  return {
    look: () => {
      refresh();
      for (const [slot, { owners, at }] of since) check(slot, owners, time.now() - at);
    },
    placed: (owners) => {
      slots = owners;
    },
  };
}

/** Slot → the machines that accept new flows for it. */
export function claimantsOf(machines: readonly Machine[]): Map<string, string[]> {
  const claimants = new Map<string, string[]>();
  for (const machine of machines) {
    for (const gateway of machine.programmed()?.gateways ?? []) {
      for (const [slot, owner] of ownersIn(gateway.nodes, gateway.name, gateway.addresses)) {
        if (owner !== machine.name) continue;
        const known = claimants.get(slot);
        if (known) known.push(machine.name);
        else claimants.set(slot, [machine.name]);
      }
    }
  }
  return claimants;
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
  onPlaced: (owners: Owners) => void,
): Promise<void> {
  const placements = new Map<string, Owners>();
  const losses = new Map<string, number>();
  for await (const event of world.store.watch({ kind: "Placement" }, await revision(world), world.ended)) {
    if (event.type === "BOOKMARK") continue;
    const { name } = event.object.metadata;
    const before = placements.get(name) ?? new Map();
    const after = event.type === "DELETED" ? new Map() : ownersOf(name, event.object);
    placements.set(name, after);
    onPlaced(new Map([...placements.values()].flatMap((owners) => [...owners])));
    for (const loser of losersOf(before, after)) await judgeLoss(world, add, contacts, losses, loser);
  }
}

function ownersOf(gateway: string, { spec }: Placement): Owners {
  return ownersIn(spec.nodes, gateway, spec.addresses);
}

function losersOf(before: Owners, after: Owners): ReadonlySet<string> {
  const losers = new Set<string>();
  for (const [slot, owner] of before) {
    if (owner !== undefined && after.has(slot) && after.get(slot) !== owner) losers.add(owner);
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
  const planned = !node || node.spec.drain || node.spec.weight !== 100 || contacts.inTouch(loser);
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
