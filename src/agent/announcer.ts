/**
 * The loop that announces this node to the fabric: last of all when something comes, first of all when something goes. It announces what the
 * dataplane runs and nothing else, and nothing at all while the dataplane is in trouble.
 */
import { isDeepStrictEqual } from "node:util";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError, type NattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { DECLARED_SIDES, type DeclaredSide, servesSide } from "../model/routing.ts";
import {
  type Announcements,
  announcementsOf,
  commonAnnouncements,
  NOTHING,
  sameAnnouncements,
  transition,
} from "../routing/announcements.ts";
import type { Router, RouterReport, RoutingWish } from "../routing/router.ts";
import { startTaskLoop, within } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { troubleOf } from "./dataplane-health.ts";
import type { DataplaneState } from "./reconciler.ts";

const INTERVAL_MS = 1000;
const MIN_GAP_MS = 50;
/** How long a change of the dataplane waits, at most, for what it takes away to be withdrawn. */
const WITHDRAWAL_MS = 3000;
/** How long neighbours are given to take up one change before the next is made, of what is announced or of the dataplane. */
const SETTLE_MS = 200;

type NodeSpec = NodeConfig["spec"];

/** A side that has sessions, none of which is up. `since` is epoch ms; `wasUp` tells whether one was since the agent's start. */
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

/** Times are epoch ms. */
export interface RoutingState {
  /** The configuration whose announcements these are; undefined before the dataplane was programmed. */
  readonly spec: NodeSpec | undefined;
  /** What is to be announced now. */
  readonly wanted: Announcements;
  /** Why nothing is announced although there is something to. */
  readonly withheld: string | undefined;
  /** What was found last; undefined before that. */
  readonly report: NotedReport | undefined;
  readonly down: SidesDown;
  readonly failure: { readonly error: NattoError; readonly since: number } | undefined;
}

export interface AnnouncerOptions {
  readonly router: Router;
  readonly logger: AgentLogger;
  readonly dataplane: () => DataplaneState;
  /** Called after the state has changed. */
  readonly onChange: () => void;
  readonly clock?: Clock;
}

export interface Announcer {
  /** To be called before the dataplane is changed: resolves when nothing is announced that it will not have any more, or after 3 s. */
  beforeChange(next: NodeSpec): Promise<void>;
  /** The dataplane was changed or checked. */
  kick(): void;
  state(): RoutingState;
  /** Ends the loop; what is announced stands. */
  stop(limitMs: number): Promise<void>;
}

const UNKNOWN: RoutingState = {
  spec: undefined,
  wanted: NOTHING,
  withheld: undefined,
  report: undefined,
  down: {},
  failure: undefined,
};

export function startAnnouncer(options: AnnouncerOptions): Announcer {
  const { router, logger, dataplane, onChange, clock = SYSTEM_CLOCK } = options;
  let state = UNKNOWN;
  /** What the router was last told; undefined until it is known what an earlier agent left. */
  let told: Announcements | undefined;
  /** While the dataplane is being changed, no more is announced than it had before and will have after. */
  let ceiling: Announcements | undefined;
  let turn: Promise<void> = Promise.resolve();

  const settle = (): Promise<void> => within(SETTLE_MS, NEVER, clock);

  /** Leads the router from what it was told to the target of the moment. */
  const lead = async (spec: NodeSpec, targetAfter: (told: Announcements) => Announcements): Promise<void> => {
    told ??= (await router.observe(wishFor(spec, announcementsOf(spec)))).announced;
    const target = targetAfter(told);
    const steps = transition(told, target);
    for (const [i, step] of (steps.length > 0 ? steps : [target]).entries()) {
      if (i > 0) await settle();
      const changes = await router.ensure(wishFor(spec, step));
      told = step;
      for (const change of changes) logger.info(`routing: ${change}`);
    }
    const report = steadyReport(state.report, await router.observe(wishFor(spec, target)), clock.now());
    state = { ...state, wanted: target, report, down: sidesDown(state, report, clock.now()) };
  };

  const tick = async (): Promise<void> => {
    const { wanted, applied, failure } = dataplane();
    // After a failure the dataplane may be half of what was tried.
    if (wanted && applied?.digest === wanted.digest && !failure) {
      state = { ...state, spec: wanted.spec };
      ceiling = undefined;
    }
    const trouble = troubleOf(dataplane(), clock.now());
    state = { ...state, withheld: trouble?.message };
    // What an earlier agent announced stands until the dataplane is known to be good or bad.
    const spec = state.spec ?? (trouble ? wanted?.spec : undefined);
    if (!spec) return;
    const full = announcementsOf(spec);
    await lead(spec, () => (trouble ? NOTHING : ceiling ? commonAnnouncements(full, ceiling) : full));
  };

  const narrow = async (next: NodeSpec): Promise<void> => {
    const after = announcementsOf(next);
    ceiling = after;
    if (told && sameAnnouncements(told, commonAnnouncements(told, after))) return;
    await lead(state.spec ?? next, (now) => commonAnnouncements(now, after));
    await settle();
  };

  /** One after the other; what goes wrong is kept for the node's status, and tried again with the next tick. */
  const inTurn = (act: () => Promise<void>): Promise<void> => {
    turn = turn.then(async () => {
      const before = state;
      try {
        await act();
        state = { ...state, failure: undefined };
      } catch (thrown) {
        const error = asNattoError(thrown);
        if (before.failure?.error.message !== error.message) {
          logger.error({ code: error.code }, `what is to be announced cannot be made so: ${error.message}`);
        }
        state = { ...state, failure: { error, since: before.failure?.since ?? clock.now() } };
      }
      if (!isDeepStrictEqual(visible(before), visible(state))) onChange();
    });
    return turn;
  };

  const run = async (): Promise<number> => {
    await inTurn(tick);
    return INTERVAL_MS;
  };
  const loop = startTaskLoop(run, MIN_GAP_MS, clock);

  return {
    beforeChange: (next) =>
      within(
        WITHDRAWAL_MS,
        inTurn(() => narrow(next)),
        clock,
      ),
    kick: loop.kick,
    state: () => state,
    stop: (limitMs) => within(limitMs, loop.stop(), clock),
  };
}

/** What of the state is worth telling. */
function visible({ report, ...rest }: RoutingState) {
  return { ...rest, announced: report?.announced, sessions: report?.sessions };
}

const NEVER = new Promise<never>(() => {});

function wishFor({ routing, node }: NodeSpec, announce: Announcements): RoutingWish | undefined {
  return routing && { routing, node, announce };
}

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
