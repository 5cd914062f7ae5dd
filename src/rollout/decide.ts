/**
 * The next step of a cell's rollout: from what is stored of it, what is planned and what the nodes report, to what is to be stored. Pure; see
 * docs/rollout.md. The step is stored before anything follows from it, so it does not matter who takes the next one.
 */
import type { RolloutSettings } from "../model/cell.ts";
import type { Baseline, Policy, RolloutEvent, RolloutSpec, RolloutStage } from "../model/rollout.ts";
import { findFault, type NodeReport } from "./health.ts";
import { baselinesOf, NOTHING_SEEN, type RolloutMemory, type Watch, watch } from "./memory.ts";
import { changedGateways, setAside, stillPlanned } from "./policy.ts";
import { nextWave } from "./waves.ts";

export interface RolloutInput {
  readonly cell: string;
  readonly settings: RolloutSettings;
  /** What is stored; undefined: this cell never had a rollout. */
  readonly spec: RolloutSpec | undefined;
  /** What nodes do that were there before this cell had rollouts; undefined if there were none. */
  readonly found: Policy | undefined;
  readonly planned: Policy;
  /** Whether any planned gateway is in operation: else there is nothing that a change could break. */
  readonly inOperation: boolean;
  readonly nodes: readonly NodeReport[];
  readonly memory: RolloutMemory | undefined;
  /** Milliseconds of a clock that never goes back. */
  readonly now: number;
  /** RFC 3339, for people. */
  readonly time: string;
}

export interface RolloutStep {
  /** What is to be stored; the same object as before when nothing happens. */
  readonly spec: RolloutSpec;
  readonly memory: RolloutMemory;
  /** Milliseconds after which time alone may change the answer; undefined when it cannot. */
  readonly wakeMs: number | undefined;
}

/** So many events are kept. */
const MAX_EVENTS = 30;

export function decideRollout(input: RolloutInput): RolloutStep {
  const spec = forgetChanged(input.spec ?? firstSpec(input), input.planned);
  const wanted = setAside(input.planned, spec.rejected, spec.good);
  const { stage } = spec;
  if (stage.phase === "rolling") return decideRolling(input, spec, stage, wanted);
  return resting(input, decideSettled(input, spec, stage, wanted));
}

type Rolling = Extract<RolloutStage, { phase: "rolling" }>;
type Settled = Extract<RolloutStage, { phase: "settled" }>;

const SETTLED: Settled = { phase: "settled" };

function firstSpec({ cell, found, planned }: RolloutInput): RolloutSpec {
  return { cell, number: 0, good: found ?? planned, stage: SETTLED, rejected: [], events: [] };
}

/** What was set aside is no longer so once it is declared in another way. */
function forgetChanged(spec: RolloutSpec, planned: Policy): RolloutSpec {
  const rejected = stillPlanned(spec.rejected, planned);
  if (rejected.length === spec.rejected.length) return spec;
  const { verdict, ...rest } = spec;
  return { ...rest, rejected, ...(rejected.length > 0 && verdict ? { verdict } : {}) };
}

function decideSettled(input: RolloutInput, spec: RolloutSpec, stage: Settled, wanted: Policy): RolloutSpec {
  const { settings, planned } = input;
  if (settings.undo === spec.number && stage.previous) {
    const undone = { ...spec, good: stage.previous };
    return reject(input, undone, spec.good, "Undone", undoneMessage(spec));
  }
  if (settings.retry === spec.number && spec.rejected.length > 0) {
    const { verdict: _, ...rest } = spec;
    return begin(input, { ...rest, rejected: [] }, planned) ?? spec;
  }
  return begin(input, spec, wanted) ?? spec;
}

/** Begins a rollout of what is wanted; undefined when there is nothing to do, or it has to wait. */
function begin(input: RolloutInput, spec: RolloutSpec, wanted: Policy): RolloutSpec | undefined {
  const { settings, nodes, inOperation } = input;
  if (changedGateways(wanted, spec.good).length === 0) return undefined;
  const number = spec.number + 1;
  if (!inOperation || settings.canaries === 0 || nodes.length === 0) {
    const stage: Settled = inOperation ? { phase: "settled", previous: spec.good } : SETTLED;
    const why = inOperation
      ? "spec.rollout.canaries is 0, or there are no nodes"
      : "nothing was in operation";
    return say(
      input,
      { ...spec, number, good: wanted, stage },
      "AtOnce",
      `${why}: it goes to all nodes at once`,
    );
  }
  if (settings.paused) return undefined;
  const wave = nextWave(settings, nodes, new Set(), 0);
  if (wave.length === 0) return undefined;
  const released = baselinesOf(wave, input.memory);
  const stage: Rolling = { phase: "rolling", target: wanted, wave: 1, released };
  const message = `wave 1 reaches ${names(wave)}: ${wave.length} of ${nodes.length} nodes`;
  return say(input, { ...spec, number, stage }, "Began", message);
}

function decideRolling(input: RolloutInput, spec: RolloutSpec, stage: Rolling, wanted: Policy): RolloutStep {
  const { settings, now } = input;
  if (changedGateways(wanted, spec.good).length === 0) {
    const message = `what is declared is again what was good before; ${count(stage)} nodes go back to it`;
    return resting(input, say(input, { ...spec, stage: SETTLED }, "Withdrawn", message));
  }
  if (settings.undo === spec.number) {
    return resting(input, reject(input, spec, stage.target, "Undone", undoneMessage(spec)));
  }
  const seen = watch(input.memory ?? NOTHING_SEEN, spec.number, stage, input.nodes, now);
  const fault = firstFault(input, stage, seen);
  if (fault !== undefined) {
    const message = `wave ${stage.wave}: ${fault}. All nodes do again what was good before; correct what is declared, or try again with natto rollout resume ${spec.cell}`;
    return resting(input, reject(input, spec, stage.target, "Failed", message));
  }
  const waitMs = untilBaked(seen, settings, now);
  if (waitMs === 0 && !settings.paused) return forward(input, spec, stage, seen);
  return {
    spec,
    memory: seen.memory,
    wakeMs: earliest(waitMs || undefined, untilOverdue(seen, settings, now)),
  };
}

/** The first thing that is wrong with the nodes that were reached, by their names. */
function firstFault({ nodes, settings, now }: RolloutInput, stage: Rolling, seen: Watch): string | undefined {
  for (const report of nodes) {
    const baseline = stage.released[report.name];
    if (!baseline) continue;
    const fault = findFault(report, baseline, settings);
    if (fault !== undefined) return fault;
    const since = seen.memory.stale.get(report.name);
    if (since !== undefined && now - since >= settings.reportSeconds * 1000) {
      return `${report.name}: has not reported within ${settings.reportSeconds} s that it has applied its configuration`;
    }
  }
  return undefined;
}

/** Milliseconds until all nodes that are waited for have done well for long enough; undefined while one has not applied it. */
function untilBaked(
  { memory, awaited }: Watch,
  { bakeSeconds }: RolloutSettings,
  now: number,
): number | undefined {
  let left = 0;
  for (const name of awaited) {
    const since = memory.current.get(name);
    if (since === undefined || memory.stale.has(name)) return undefined;
    left = Math.max(left, since + bakeSeconds * 1000 - now);
  }
  return left;
}

function untilOverdue(
  { memory }: Watch,
  { reportSeconds }: RolloutSettings,
  now: number,
): number | undefined {
  const waits = [...memory.stale.values()].map((since) => since + reportSeconds * 1000 - now);
  return waits.length === 0 ? undefined : Math.max(1, Math.min(...waits));
}

/** The next wave; after the last one the target is what is good. */
function forward(input: RolloutInput, spec: RolloutSpec, stage: Rolling, seen: Watch): RolloutStep {
  const { settings, nodes, now } = input;
  const reached = new Set(nodes.map(({ name }) => name).filter((name) => stage.released[name]));
  if (reached.size === nodes.length) {
    const settled: Settled = { phase: "settled", previous: spec.good };
    const message = `it is on all ${nodes.length} nodes, and they do well`;
    return resting(input, say(input, { ...spec, good: stage.target, stage: settled }, "Settled", message));
  }
  const wave = nextWave(settings, nodes, reached, seen.awaited.length === 0 ? 0 : reached.size);
  if (wave.length === 0) return { spec, memory: seen.memory, wakeMs: undefined };
  const released: Record<string, Baseline> = { ...stage.released, ...baselinesOf(wave, seen.memory) };
  const next: Rolling = { ...stage, wave: stage.wave + 1, released };
  const message = `wave ${next.wave} reaches ${names(wave)}: ${count(next)} of ${nodes.length} nodes`;
  const { memory } = watch(seen.memory, spec.number, next, surprised(nodes, wave), now);
  return { spec: say(input, { ...spec, stage: next }, "Advanced", message), memory, wakeMs: undefined };
}

/** Sets aside what `target` changes, and goes back to what is good. */
function reject(
  input: RolloutInput,
  spec: RolloutSpec,
  target: Policy,
  reason: string,
  message: string,
): RolloutSpec {
  const rejected = [...spec.rejected, ...changedGateways(target, spec.good)];
  const verdict = eventOf(input, spec, reason, message);
  return say(input, { ...spec, stage: SETTLED, rejected, verdict }, reason, message);
}

function say(input: RolloutInput, spec: RolloutSpec, reason: string, message: string): RolloutSpec {
  return { ...spec, events: [...spec.events, eventOf(input, spec, reason, message)].slice(-MAX_EVENTS) };
}

function eventOf(
  { time }: RolloutInput,
  { number }: RolloutSpec,
  reason: string,
  message: string,
): RolloutEvent {
  return { at: time, rollout: number, reason, message };
}

/** The end of a step that does not watch a wave; what it began is watched from now on. */
function resting(input: RolloutInput, spec: RolloutSpec): RolloutStep {
  const { nodes, now, memory = NOTHING_SEEN } = input;
  const seen = watch(memory, spec.number, spec.stage, surprised(nodes, nodes), now);
  return { spec, memory: seen.memory, wakeMs: undefined };
}

/** A wave that is reached now cannot have applied what it is given, whatever its nodes ran before. */
function surprised(nodes: readonly NodeReport[], wave: readonly NodeReport[]): readonly NodeReport[] {
  return nodes.map((node) => (wave.includes(node) ? { ...node, current: false } : node));
}

function undoneMessage({ cell, number }: RolloutSpec): string {
  return `rollout ${number} is not wanted: all nodes do again what was good before; correct what is declared, or try again with natto rollout resume ${cell}`;
}

function names(wave: readonly NodeReport[]): string {
  const shown = wave.slice(0, 5).map((node) => node.name);
  const more = wave.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function count({ released }: Rolling): number {
  return Object.keys(released).length;
}

function earliest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
}
