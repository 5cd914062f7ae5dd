/** How long Events are kept, and how many of them. Pure. */
import { type Event, formatReference } from "../model/event.ts";

/** After the last time that it happened. */
export const KEPT_MS = 60 * 60 * 1000;
export const KEPT_PER_OBJECT = 30;
export const KEPT_IN_ALL = 5000;

/** The Events that are to be removed at `now` (epoch ms): the old ones, and the oldest where there are too many. */
export function expiredEvents(events: readonly Event[], now: number): readonly Event[] {
  const counts = new Map<string, number>();
  let kept = 0;
  return newestFirst(events).filter(({ spec }) => {
    const object = formatReference(spec.regarding);
    const ofObject = counts.get(object) ?? 0;
    const isYoung = now - timeOf(spec.lastTime) < KEPT_MS;
    if (!isYoung || ofObject >= KEPT_PER_OBJECT || kept >= KEPT_IN_ALL) return true;
    counts.set(object, ofObject + 1);
    kept++;
    return false;
  });
}

/** By the last time that they happened. */
export function newestFirst(events: readonly Event[]): readonly Event[] {
  return events.toSorted((a, b) => timeOf(b.spec.lastTime) - timeOf(a.spec.lastTime));
}

/** What cannot be read as a time is as old as can be. */
function timeOf(text: string): number {
  return Date.parse(text) || 0;
}
