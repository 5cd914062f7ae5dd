/** What is known of this node's routing, and what follows from what was found before. Pure; times are epoch ms. */
import type { NattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { DECLARED_SIDES, type DeclaredSide, servesSide } from "../model/routing.ts";
import { type Announcements, NOTHING } from "../routing/announcements.ts";
import type { RouterReport } from "../routing/router.ts";

/** A side that has sessions, none of which is up. `wasUp` tells whether one was since the agent's start. */
export interface SideDown {
  readonly since: number;
  readonly wasUp: boolean;
}

export type SidesDown = { readonly [S in DeclaredSide]?: SideDown };

/** Of a session that stays down a new account is given at most this often: its state changes all the time, and each change would be written. */
const ACCOUNT_MS = 5000;

/** What was found last, and for each session when its account was given. */
export interface NotedReport extends RouterReport {
  readonly notedAt: ReadonlyMap<string, number>;
}

export interface RoutingState {
  /** The configuration whose announcements these are; undefined before the dataplane was programmed. */
  readonly spec: NodeConfig["spec"] | undefined;
  /** What is to be announced now. */
  readonly wanted: Announcements;
  /** Why nothing is announced although there is something to. */
  readonly withheld: string | undefined;
  /** What was found last; undefined before that. */
  readonly report: NotedReport | undefined;
  readonly down: SidesDown;
  readonly failure: { readonly error: NattoError; readonly since: number } | undefined;
}

export const NO_ROUTING_YET: RoutingState = {
  spec: undefined,
  wanted: NOTHING,
  withheld: undefined,
  report: undefined,
  down: {},
  failure: undefined,
};

/** The report with the earlier account of those sessions that are down as they were a short while ago. Pure. */
export function steadyReport(before: NotedReport | undefined, found: RouterReport, now: number): NotedReport {
  const notedAt = new Map<string, number>();
  const sessions = found.sessions.map((session) => {
    const known = before?.sessions.find(({ name }) => name === session.name);
    const at = before?.notedAt.get(session.name) ?? now;
    const keeps =
      known && !known.up && !session.up && known.peerAs === session.peerAs && now - at < ACCOUNT_MS;
    notedAt.set(session.name, keeps ? at : now);
    return keeps ? known : session;
  });
  return { ...found, sessions, notedAt };
}

/** The sides that are down, given what was found before. Pure. */
export function sidesDown(
  before: Pick<RoutingState, "report" | "down">,
  report: RouterReport,
  now: number,
): SidesDown {
  const down: { -readonly [S in DeclaredSide]?: SideDown } = {};
  for (const side of DECLARED_SIDES) {
    const sessions = report.sessions.filter((session) => servesSide(session.side, side));
    if (sessions.length === 0 || sessions.some((session) => session.up)) continue;
    const wasUp = before.report?.sessions.some((s) => s.up && servesSide(s.side, side)) ?? false;
    down[side] = before.down[side] ?? { since: now, wasUp };
  }
  return down;
}
