/**
 * The loop that announces this node to the fabric: last of all when something comes, first of all when something goes. It announces what the
 * dataplane runs and nothing else, and nothing at all while the dataplane is in trouble.
 */
import { isDeepStrictEqual } from "node:util";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
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
import { NO_ROUTING_YET, type RoutingState, sidesDown, steadyReport } from "./routing-state.ts";

const INTERVAL_MS = 1000;
const MIN_GAP_MS = 50;
/** How long a change of the dataplane waits, at most, for what it takes away to be withdrawn. */
const WITHDRAWAL_MS = 3000;
/** How long neighbours are given to take up one change before the next is made, of what is announced or of the dataplane. */
const SETTLE_MS = 200;

type NodeSpec = NodeConfig["spec"];

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

export function startAnnouncer(options: AnnouncerOptions): Announcer {
  const { router, logger, dataplane, onChange, clock = SYSTEM_CLOCK } = options;
  const leader = makeLeader(router, logger, clock);
  let state = NO_ROUTING_YET;
  /** While the dataplane is being changed, no more is announced than it had before and will have after. */
  let ceiling: Announcements | undefined;
  let turn: Promise<void> = Promise.resolve();

  const lead = async (spec: NodeSpec, wanted: Announcements): Promise<void> => {
    const report = steadyReport(state.report, await leader.lead(spec, wanted), clock.now());
    state = { ...state, wanted, report, down: sidesDown(state, report, clock.now()) };
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
    await lead(spec, trouble ? NOTHING : ceiling ? commonAnnouncements(full, ceiling) : full);
  };

  const narrow = async (next: NodeSpec): Promise<void> => {
    ceiling = announcementsOf(next);
    const spec = state.spec ?? next;
    const told = await leader.told(spec);
    const kept = commonAnnouncements(told, ceiling);
    if (sameAnnouncements(told, kept)) return;
    await lead(spec, kept);
    await settle(clock);
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
  const narrowInTurn = (next: NodeSpec): Promise<void> => inTurn(() => narrow(next));
  return {
    beforeChange: (next) => within(WITHDRAWAL_MS, narrowInTurn(next), clock),
    kick: loop.kick,
    state: () => state,
    stop: (limitMs) => within(limitMs, loop.stop(), clock),
  };
}

interface Leader {
  /** What the router was last told; when that is not known, what an earlier agent left. */
  told(spec: NodeSpec): Promise<Announcements>;
  /** Leads the router to this target, so that nothing that stays is without a route on the way, and looks at what came of it. */
  lead(spec: NodeSpec, target: Announcements): Promise<RouterReport>;
}

function makeLeader(router: Router, logger: AgentLogger, clock: Clock): Leader {
  let known: Announcements | undefined;
  const told = async (spec: NodeSpec): Promise<Announcements> => {
    known ??= (await router.observe(wishFor(spec, announcementsOf(spec)))).announced;
    return known;
  };
  return {
    told,
    async lead(spec, target) {
      const steps = transition(await told(spec), target);
      for (const [i, step] of (steps.length > 0 ? steps : [target]).entries()) {
        if (i > 0) await settle(clock);
        const changes = await router.ensure(wishFor(spec, step));
        known = step;
        for (const change of changes) logger.info(`routing: ${change}`);
      }
      return router.observe(wishFor(spec, target));
    },
  };
}

function settle(clock: Clock): Promise<void> {
  return within(SETTLE_MS, new Promise(() => {}), clock);
}

function wishFor({ routing, node }: NodeSpec, announce: Announcements): RoutingWish | undefined {
  return routing && { routing, node, announce };
}

/** What of the state is worth telling. */
function visible({ report, ...rest }: RoutingState) {
  return { ...rest, announced: report?.announced, sessions: report?.sessions };
}
