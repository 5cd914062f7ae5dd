/** Whether every packet got through that should have. Pure. */

/** Endpoint → the nodes that hold flows of it: the owner of its slot, and the previous one while the slot moves. */
export type Holders = ReadonlyMap<string, readonly string[]>;

/** A node was away: its power was off, or it was wiped. Times are milliseconds since 1970. */
export interface NodeOutage {
  readonly node: string;
  readonly from: number;
  readonly until: number;
  /** When it went away. */
  readonly holders: Holders;
}

/** How long packets may be lost, in milliseconds. */
export interface Allowance {
  /** After a node's loss, by flows that merely crossed it. */
  readonly crossing: number;
  /** After a node's loss, by flows that it held. */
  readonly own: number;
  /** After a node's return. */
  readonly returning: number;
  /** Between what is written down as the time of an event and the event. */
  readonly inexactness: number;
}

/** What an endpoint lost; times are milliseconds since 1970. */
export interface Losses {
  readonly endpoint: string;
  /** For people. */
  readonly flow: string;
  readonly lostAt: readonly number[];
}

export function isAllowed(
  endpoint: string,
  at: number,
  outages: readonly NodeOutage[],
  { crossing, own, returning, inexactness }: Allowance,
): boolean {
  return outages.some(({ node, from, until, holders }) => {
    const patience = holders.get(endpoint)?.includes(node) ? own : crossing;
    const within = (start: number, ms: number) => at >= start - inexactness && at <= start + ms + inexactness;
    return within(from, patience) || within(until, returning);
  });
}

/** One sentence for each flow that lost what it should not have lost. */
export function checkLosses(
  losses: readonly Losses[],
  outages: readonly NodeOutage[],
  allowance: Allowance,
): readonly string[] {
  return losses.flatMap(({ endpoint, flow, lostAt }) => {
    const wrong = lostAt.filter((at) => !isAllowed(endpoint, at, outages, allowance));
    const times = wrong.slice(0, 5).map((at) => new Date(at).toISOString().slice(11, 23));
    return wrong.length === 0
      ? []
      : [`${endpoint}: ${flow} lost ${wrong.length} packets, at ${times.join(", ")}`];
  });
}

export interface Held {
  /** Who used it: one flow of one endpoint. */
  readonly holder: string;
  /** `address:port` */
  readonly outside: string;
  readonly from: number;
  readonly to: number;
}

/** One sentence for each address:port that two flows used at the same time: one held it while the other came and went. */
export function checkHolders(spans: readonly Held[]): readonly string[] {
  const byOutside = Map.groupBy(spans, (span) => span.outside);
  return [...byOutside].flatMap(([outside, held]) => {
    const ordered = held.toSorted((a, b) => a.from - b.from);
    let longest = ordered[0];
    return ordered.slice(1).flatMap((span) => {
      const holder = longest;
      if (longest === undefined || span.to > longest.to) longest = span;
      return holder !== undefined && holder.to > span.from && holder.holder !== span.holder
        ? [`${outside} was held by ${holder.holder} and by ${span.holder} at the same time`]
        : [];
    });
  });
}
