/**
 * What a controller remembers of a rollout between two looks: since when, by its own clock, each node has been seen to do what. All of it can be lost:
 * the next controller then watches the wave anew for its whole time. Pure.
 */
import type { Baseline, RolloutStage } from "../model/rollout.ts";
import { baselineOf, type NodeReport, type Traffic } from "./health.ts";

/** Traffic before a rollout is looked at over at least this time. */
const SAMPLE_MS = 30_000;

interface Sample extends Traffic {
  readonly at: number;
}

/** Times are milliseconds of the controller's clock. */
export interface RolloutMemory {
  /** Which wave of which rollout the times below are about. */
  readonly wave: string;
  /** Node → when it was first seen to run what this wave gave it. */
  readonly current: ReadonlyMap<string, number>;
  /** Node that is waited for and does not run what it is to run → since when. */
  readonly stale: ReadonlyMap<string, number>;
  /** Node → two looks at its traffic; the older one is what is compared with. */
  readonly samples: ReadonlyMap<string, { readonly older: Sample; readonly newer: Sample }>;
}

export const NOTHING_SEEN: RolloutMemory = {
  wave: "",
  current: new Map(),
  stale: new Map(),
  samples: new Map(),
};

const NO_TRAFFIC: Traffic = { packets: 0, drops: 0 };

export interface Watch {
  readonly memory: RolloutMemory;
  /** The nodes on which the next wave depends: those that were alive when they were reached, and are not being drained. */
  readonly awaited: readonly string[];
}

/** Looks at the nodes. */
export function watch(
  before: RolloutMemory,
  number: number,
  stage: RolloutStage,
  nodes: readonly NodeReport[],
  now: number,
): Watch {
  const released = stage.phase === "rolling" ? stage.released : {};
  const wave = stage.phase === "rolling" ? `${number}/${stage.wave}` : "";
  const sameWave = wave === before.wave;
  const current = new Map<string, number>();
  const stale = new Map<string, number>();
  const awaited: string[] = [];
  for (const { name, current: runsIt, draining } of nodes) {
    if (!released[name]?.alive || draining) continue;
    awaited.push(name);
    const since = sameWave ? before.current.get(name) : undefined;
    if (runsIt || since !== undefined) current.set(name, since ?? now);
    if (!runsIt) stale.set(name, (sameWave ? before.stale.get(name) : undefined) ?? now);
  }
  return { memory: { wave, current, stale, samples: sample(before, nodes, now) }, awaited };
}

function sample(before: RolloutMemory, nodes: readonly NodeReport[], now: number): RolloutMemory["samples"] {
  return new Map(
    nodes.map(({ name, packets, drops }) => {
      const known = before.samples.get(name);
      const fresh: Sample = { at: now, packets, drops };
      if (!known || packets < known.newer.packets) return [name, { older: fresh, newer: fresh }];
      const due = now - known.newer.at >= SAMPLE_MS;
      return [name, due ? { older: known.newer, newer: fresh } : known];
    }),
  );
}

/** How the nodes of a wave are before it reaches them. Where nothing is remembered, all their traffic so far is taken. */
export function baselinesOf(
  wave: readonly NodeReport[],
  memory: RolloutMemory | undefined,
): Readonly<Record<string, Baseline>> {
  return Object.fromEntries(
    wave.map((node) => {
      const earlier = memory?.samples.get(node.name)?.older;
      const usable = earlier && earlier.packets < node.packets ? earlier : NO_TRAFFIC;
      return [node.name, baselineOf(node, usable)];
    }),
  );
}
