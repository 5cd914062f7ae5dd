/** Which nodes a wave reaches. Pure. */
import type { RolloutSettings } from "../model/cell.ts";
import type { NodeReport } from "./health.ts";

/** How many of `total` nodes each wave has reached in the end: strictly rising, the last is all of them. */
export function waveSizes({ canaries, percents }: RolloutSettings, total: number): readonly number[] {
  const steps = [canaries, ...percents.map((percent) => Math.ceil((total * percent) / 100)), total];
  const sizes: number[] = [];
  for (const step of steps.toSorted((a, b) => a - b)) {
    const size = Math.min(step, total);
    if (size > (sizes.at(-1) ?? 0)) sizes.push(size);
  }
  return sizes;
}

/**
 * The nodes of the next wave, given those that have been reached and how many of them count: 0 when none of them can tell how it does, so that
 * canaries are sought anew. First come those that can tell (alive, ready and not draining), each by name; so it is always the same nodes that
 * go first. Empty when all have been reached, or when there is nobody who could be a canary.
 */
export function nextWave(
  settings: RolloutSettings,
  nodes: readonly NodeReport[],
  reached: ReadonlySet<string>,
  counted: number,
): readonly NodeReport[] {
  const left = nodes.filter((node) => !reached.has(node.name));
  const size = waveSizes(settings, nodes.length).find((s) => s > counted);
  if (size === undefined) return left;
  const wave = left.toSorted(byEloquence).slice(0, size - counted);
  return counted === 0 && !wave.some((node) => node.alive) ? [] : wave;
}

function byEloquence(a: NodeReport, b: NodeReport): number {
  return rank(a) - rank(b) || (a.name < b.name ? -1 : 1);
}

function rank({ alive, ready, draining }: NodeReport): number {
  if (!alive) return 2;
  return ready && !draining ? 0 : 1;
}
