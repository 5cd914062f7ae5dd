/**
 * Judging heartbeats: from what was observed of each node's Lease, and when, to who is alive. Pure. All times are milliseconds of the
 * observer's own clock; clocks of different machines are never compared.
 */
import type { Lease } from "../model/lease.ts";
import type { MemberState, Members } from "./membership.ts";

/** What is known of the heartbeat of one node. */
export interface Observation {
  readonly cell: string;
  /** Where else its agent says that it lives, and so renews its Lease seldom; undefined: nowhere. */
  readonly membership?: Lease["spec"]["membership"];
  readonly renewals: number;
  /** Its peers whose dataplane answers it. */
  readonly peersAlive: readonly string[];
  /** When the observer began to watch it. */
  readonly since: number;
  /** When it was last seen to beat; undefined if it has not been since the observer began. */
  readonly beatAt: number | undefined;
}

export type Observations = ReadonlyMap<string, Observation>;

/** For how long the heartbeat of this node may be silent, in milliseconds. */
export type TtlMsOf = (observation: Observation) => number;

/**
 * What is known after a look at a Lease. The first sight of a Lease that was there before the observer (`atStart`) is no
 * heartbeat: it may be years old.
 */
export function observe(
  before: Observation | undefined,
  lease: Lease,
  now: number,
  atStart: boolean,
): Observation {
  const { cell, membership, renewals, peersAlive } = lease.spec;
  const beats = before ? before.renewals !== renewals : !atStart;
  return {
    cell,
    membership,
    renewals,
    peersAlive,
    since: before?.since ?? now,
    beatAt: beats ? now : before?.beatAt,
  };
}

/** Whether nothing has been heard of the node for the time to live, by an observer who has listened for that long. */
export function isSilent({ since, beatAt }: Observation, ttlMs: number, now: number): boolean {
  return now - (beatAt ?? since) >= ttlMs;
}

/**
 * The members: alive are those who have been seen to beat within their cell's time to live; gone are those who were silent for that
 * long and whom no peer that is alive sees; the others are unmanaged.
 */
export function judge(observations: Observations, ttlMsOf: TtlMsOf, now: number): Members {
  const members = new Map<string, MemberState>();
  const silent = new Set<string>();
  for (const [node, observation] of observations) {
    const isQuiet = isSilent(observation, ttlMsOf(observation), now);
    if (isQuiet) silent.add(node);
    members.set(node, isQuiet ? "gone" : observation.beatAt === undefined ? "unmanaged" : "alive");
  }
  const cellOf = (node: string) => observations.get(node)?.cell;
  for (const node of seenByPeers(observations, silent, (peer) => members.get(peer) === "alive", cellOf)) {
    members.set(node, "unmanaged");
  }
  return members;
}

/** The silent nodes that a witness of their own cell sees forward. */
export function seenByPeers(
  observations: Observations,
  silent: ReadonlySet<string>,
  isWitness: (node: string) => boolean,
  cellOf: (node: string) => string | undefined,
): Set<string> {
  const seen = new Set<string>();
  if (silent.size === 0) return seen;
  for (const [node, { cell, peersAlive }] of observations) {
    if (!isWitness(node)) continue;
    for (const peer of peersAlive) if (silent.has(peer) && cellOf(peer) === cell) seen.add(peer);
  }
  return seen;
}

/**
 * The observer was blind from `from` to `to` (the store was away, or its own process stood still): what it did not hear in that time
 * says nothing. Whoever was not silent before is listened to anew for a whole time to live.
 */
export function excuse(
  observations: Observations,
  ttlMsOf: TtlMsOf,
  from: number,
  to: number,
): Map<string, Observation> {
  return new Map(
    [...observations].map(([node, observation]) => {
      if (isSilent(observation, ttlMsOf(observation), from)) return [node, observation];
      return [node, { ...observation, since: to, beatAt: observation.beatAt === undefined ? undefined : to }];
    }),
  );
}

/** Whether two judgements are the same. */
export function sameMembers(a: Members, b: Members): boolean {
  return a.size === b.size && [...a].every(([node, state]) => b.get(node) === state);
}
