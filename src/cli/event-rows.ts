/** Events as rows of tables, and which of them are wanted. Pure. */

import { newestFirst } from "../events/retention.ts";
import type { Event } from "../model/event.ts";
import { formatReference } from "../model/event.ts";
import { formatAge } from "./age.ts";
import type { Facts } from "./facts.ts";

/** What an Event must regard and be; what is left out does not matter. */
export interface EventFilter {
  readonly kind?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly type?: Event["spec"]["type"] | undefined;
}

export function eventMatches({ spec }: Event, { kind, namespace, name, type }: EventFilter): boolean {
  const { regarding } = spec;
  return (
    (kind === undefined || regarding.kind === kind) &&
    (namespace === undefined || regarding.namespace === namespace) &&
    (name === undefined || regarding.name === name) &&
    (type === undefined || spec.type === type)
  );
}

/** The names of the cells of `eventRow`. */
export function eventHeader(wide: boolean): readonly string[] {
  return ["LAST", "TYPE", "REASON", "OBJECT", "COUNT", ...(wide ? ["FIRST", "REPORTER"] : []), "NOTE"];
}

/** The cells of an Event at `now` (epoch ms): times as how long ago. */
export function eventRow({ spec }: Event, now: number, wide: boolean): readonly string[] {
  const { type, reason, regarding, count, note, firstTime, lastTime, reporter } = spec;
  const common = [formatAge(lastTime, now), type, reason, formatReference(regarding), `${count}`];
  return [...common, ...(wide ? [formatAge(firstTime, now), reporter] : []), note];
}

/** The Events of one object for `natto describe`, the newest first; nothing where there are none. */
export function eventFacts(events: readonly Event[], now: number): Facts {
  if (events.length === 0) return {};
  return {
    events: newestFirst(events).map(({ spec }) => ({
      last: formatAge(spec.lastTime, now),
      type: spec.type,
      reason: spec.reason,
      count: spec.count,
      reporter: spec.reporter,
      note: spec.note,
    })),
  };
}
