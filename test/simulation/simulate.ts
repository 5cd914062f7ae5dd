/** One life of a simulated cell: begin, let happen what the schedule says, end all trouble, and see whether it comes to rest as it should. */
import { seededRandom } from "../chaos/random.ts";
import {
  breaksPackets,
  describeIncident,
  drawIncidents,
  type Incident,
  isDisturbance,
  strike,
} from "./faults.ts";
import { rolesIn } from "./roles.ts";
import { claimsOf, type RuleBook, type Violation, watchRules } from "./rules.ts";
import { begin, CELL, type ControllerSeat, type Mutation, openWorld, type World } from "./world.ts";

export interface Life {
  readonly seed: number;
  readonly incidents: readonly Incident[];
  readonly violations: readonly Violation[];
  /** When everything had come to rest, in milliseconds of virtual time, and the revision to which the store had come. */
  readonly endedAt: number;
  readonly revision: string;
}

const MACHINES = 4;
/** When all trouble ends, and how long the cell may take to come to rest. */
const PEACE_MS = 22_000;
const SETTLE_MS = 40_000;
const LOOK_MS = 1_000;
/** How often flows may begin and end. */
const TURN_OVER_MS = 500;

/** What happens in the life of a seed. */
export function incidentsOf(seed: number): readonly Incident[] {
  return drawIncidents(seededRandom(seed), MACHINES);
}

export interface LifeOptions {
  /** What happens, in place of what the seed draws. */
  readonly incidents?: readonly Incident[];
  readonly mutation?: Mutation;
  readonly onControllerCall?: (world: World, controller: ControllerSeat) => void;
}

/** Lives through the schedule of a seed, or through these incidents with its luck. The same seed gives the same life. */
export async function simulate(seed: number, options: LifeOptions = {}): Promise<Life> {
  const random = seededRandom(seed);
  const drawn = drawIncidents(random, MACHINES);
  const { incidents = drawn, mutation, onControllerCall } = options;
  const world: World = openWorld(random, {
    machines: MACHINES,
    ...(mutation ? { mutation } : {}),
    ...(onControllerCall ? { onControllerCall: (controller) => onControllerCall(world, controller) } : {}),
  });
  const rules = watchRules(world);
  await begin(world, mutation);
  const stop = (): boolean => {
    for (const look of world.looks()) look();
    return rules.violations.length > 0;
  };
  schedule(world, rules, incidents);
  await world.time.run(PEACE_MS, stop);
  await settle(world, rules, stop);
  const { resourceVersion: revision } = await world.store.list({ kind: "Cell" });
  world.end();
  return { seed, incidents, violations: rules.violations, endedAt: world.time.now(), revision };
}

function schedule(world: World, rules: RuleBook, incidents: readonly Incident[]): void {
  // The schedule is no part of the cell: it has a process of its own, which nothing happens to.
  const { clock } = world.time.process();
  const turnOver = (): void => {
    rules.turnOverFlows();
    clock.after(TURN_OVER_MS, turnOver);
  };
  turnOver();
  for (const { at, ms, fault } of incidents) {
    clock.after(at, () => {
      const end = strike(world, fault, ms);
      const noteDisturbance = (): void => {
        if (isDisturbance(fault)) rules.disturbed(breaksPackets(fault));
      };
      noteDisturbance();
      clock.after(Math.min(ms, PEACE_MS - at - 1), () => {
        end();
        noteDisturbance();
      });
    });
  }
}

/** Lets the cell come to rest; adds a violation if it does not. */
async function settle(world: World, rules: RuleBook, stop: () => boolean): Promise<void> {
  for (const machine of world.machines) machine.startAgent();
  for (const controller of world.controllers) controller.start();
  let unrest: string | undefined = "";
  for (let at = PEACE_MS; at <= PEACE_MS + SETTLE_MS && unrest !== undefined; at += LOOK_MS) {
    await world.time.run(at, stop);
    if (rules.violations.length > 0) return;
    unrest = await findUnrest(world);
  }
  if (unrest !== undefined) rules.add({ rule: "convergence", message: unrest });
}

/** What is not yet as it should be; undefined when all is. */
async function findUnrest(world: World): Promise<string | undefined> {
  const { store, machines } = world;
  const gateways = (await store.list({ kind: "NatGateway" })).items;
  const placements = (await store.list({ kind: "Placement" })).items;
  if (placements.length !== gateways.length)
    return `${placements.length} placements of ${gateways.length} gateways`;
  const rollout = (await store.get({ kind: "Rollout", name: CELL }))?.spec;
  if (rollout?.stage.phase !== "settled") return "a rollout is under way";
  for (const machine of machines) {
    const config = await store.get({ kind: "NodeConfig", name: machine.name });
    if (JSON.stringify(config?.spec) !== JSON.stringify(machine.programmed())) {
      return `${machine.name} does not run its configuration`;
    }
    const { gateways: own = [] } = config?.spec ?? {};
    if (own.length + (config?.spec.withheld?.length ?? 0) !== gateways.length)
      return `${machine.name} lacks gateways`;
  }
  const claims = claimsOf(machines);
  for (const { metadata, spec } of placements) {
    for (const [slot, { owner, holder = "" }] of rolesIn(metadata.name, spec)) {
      const takers = claims.get(slot)?.takers.join();
      const holders = claims.get(slot)?.holders.join() ?? "";
      const withheld = machines.some((m) => m.programmed()?.withheld?.includes(`t/${metadata.name}`));
      if (withheld) continue;
      if (owner === undefined || takers !== owner || holders !== holder) {
        return `${slot}: placed on ${owner}, its ports on ${holder}; ${takers || "nobody"} takes new flows, ${holders || "nobody"} gives out its ports`;
      }
    }
  }
  return undefined;
}

/** The life with as few incidents as still break a rule: each is left out in turn. */
export async function shrink(life: Life, mutation: Mutation | undefined): Promise<Life> {
  let least = life;
  for (const incident of life.incidents) {
    const incidents = least.incidents.filter((other) => other !== incident);
    const shorter = await simulate(life.seed, { incidents, ...(mutation ? { mutation } : {}) });
    if (shorter.violations.length > 0) least = shorter;
  }
  return least;
}

/** What happened, for people, with the command that lets it happen again. */
export function describeLife({ seed, incidents, violations }: Life): string {
  return [
    `seed ${seed}: replay it with NATTO_SEED=${seed} make simulate`,
    ...incidents.map((incident) => `  ${describeIncident(incident)}`),
    ...violations.slice(0, 5).map(({ at, rule, message }) => `  ${at} ms: rule "${rule}": ${message}`),
  ].join("\n");
}
