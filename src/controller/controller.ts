/**
 * The controller: plans whenever something has changed, and makes the store say what was planned. Level-triggered: every round compares
 * all of what should be with all of what is, so a crash at any point is repaired by the next round, and a round in which nothing
 * differs writes nothing. While the view of the store is incomplete or old, it does nothing at all (fail static).
 */
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError } from "../errors.ts";
import type { Occurrence } from "../events/occurrence.ts";
import { type EventRecorder, NO_RECORDER } from "../events/recorder.ts";
import { type Presences, weighLosses } from "../membership/doubt.ts";
import type { Members, Membership } from "../membership/membership.ts";
import { createPlanner, type NodeConfigSpec, type Plan } from "../planner/plan.ts";
import { pause } from "../store/pause.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";
import { doubtInput } from "./doubt-input.ts";
import type { Election, Term } from "./election.ts";
import { startEventSweeper } from "./event-sweeper.ts";
import { makeControllerMetrics } from "./metrics.ts";
import { type PublishReport, publish } from "./publish.ts";
import { makeStaging } from "./rollouts.ts";
import { memberEvents, writeEvents } from "./round-events.ts";
import { openView, type View } from "./view.ts";
import { type SameConfig, type Stored, type Writes, writesFor } from "./writes.ts";

export interface ControllerOptions {
  readonly store: Store;
  readonly membership: Membership;
  readonly logger: Pick<Logger, "debug" | "info" | "warn" | "error">;
  /** Works only while this process leads, and writes only in its term; without an election it always does. */
  readonly election?: Election;
  /** Where it tells what happens. */
  readonly events?: Pick<EventRecorder, "record">;
  /** Where its metrics are registered. */
  readonly registry?: Registry;
  /** How long changes are collected before they are planned together, in milliseconds. */
  readonly debounceMs?: number;
  readonly clock?: Clock;
}

/** What the controller has done since it was started. */
export interface ControllerFigures {
  readonly rounds: number;
  readonly writes: number;
  readonly movedSlots: number;
}

export interface Controller {
  figures(): ControllerFigures;
  /** Ends after the write that is under way. */
  close(): Promise<void>;
}

const DEBOUNCE_MS = 20;
/** Even if nothing seems to change, all is compared this often. */
const RESYNC_MS = 60_000;
/** How soon a move that is due is looked at again: its previous owner may not have reported yet. */
const MIN_TURN_MS = 500;
/** How long it waits to see its own writes before it plans again. */
const SEEN_MS = 2_000;
const RETRY_MS = { first: 100, max: 5_000 };

/** Starts at once, and works as soon as the store and the membership can be read. */
export function startController(options: ControllerOptions): Controller {
  const { store, membership, election, logger, debounceMs = DEBOUNCE_MS, clock = SYSTEM_CLOCK } = options;
  const { events = NO_RECORDER } = options;
  const ending = new AbortController();
  const brain = makeBrain(options);
  let dirty = true;
  let failures = 0;
  /** The term at whose beginning the view was brought up to date. */
  let caughtUp: Term | undefined;
  let figures: ControllerFigures = { rounds: 0, writes: 0, movedSlots: 0 };

  const kick = (): void => {
    dirty = true;
    loop.kick();
  };
  const round = async (): Promise<number> => {
    if (dirty) await pause(debounceMs, ending.signal, clock);
    dirty = false;
    if (ending.signal.aborted || !view.current() || !membership.ready()) return RESYNC_MS;
    const term = election?.term();
    if (election && !term) return RESYNC_MS;
    if (term !== caughtUp) {
      if (!(await isCaughtUp(view, logger, ending.signal))) return RETRY_MS.first;
      caughtUp = term;
    }
    const stored = view.stored();
    const thought = brain.think(stored);
    const report = await publish(term?.store ?? store, thought.writes, ending.signal);
    brain.tell(thought, report);
    events.record(...writeEvents(stored, report.done), ...thought.news);
    if (report.failed.some(({ error }) => error.code === "Fenced")) election?.doubt();
    figures = {
      rounds: figures.rounds + 1,
      writes: figures.writes + report.done.length,
      movedSlots: figures.movedSlots + thought.plan.movedSlots,
    };
    await view.untilSeen(report.done, SEEN_MS, ending.signal);
    failures = report.failed.length + report.overtaken.length > 0 ? failures + 1 : 0;
    const restMs = Math.min(RESYNC_MS, thought.wakeMs);
    return failures === 0 ? restMs : Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** (failures - 1));
  };
  const loop = startTaskLoop(round, 0, clock);
  const view = openView(store, kick, { clock });
  const leading = (): Store | undefined => (election ? election.term()?.store : store);
  const sweeper = startEventSweeper({ store: leading, logger, clock });
  const unsubscribe = [membership.onChange(kick), election?.onChange(kick)];

  return {
    figures: () => figures,
    close: async () => {
      ending.abort();
      for (const end of unsubscribe) end?.();
      await loop.stop();
      await sweeper.stop();
      await view.close();
    },
  };
}

async function isCaughtUp(
  view: View,
  logger: ControllerOptions["logger"],
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return await view.catchUp(SEEN_MS, signal);
  } catch (thrown) {
    logger.warn(`cannot read what the last leader has given out: ${asNattoError(thrown).message}`);
    return false;
  }
}

/** One pass from what is stored to what is to be written. */
interface Round {
  readonly plan: Plan;
  readonly planMs: number;
  readonly doubted: readonly string[];
  readonly writes: Writes;
  /** What became of the members. */
  readonly news: readonly Occurrence[];
  /** Milliseconds until a rollout or a move may go on. */
  readonly wakeMs: number;
}

/** What the controller remembers between rounds, all of it only to be quicker or to know what is news. */
function makeBrain({ membership, election, logger, registry, clock = SYSTEM_CLOCK }: ControllerOptions) {
  const record = makeControllerMetrics(registry, election);
  const planner = createPlanner();
  const sameConfig = rememberSameConfigs();
  const stage = makeStaging(sameConfig);
  let presences: Presences = new Map();
  let membersBefore: Members = new Map();
  let doubtedBefore = "";

  return {
    think: (stored: Stored): Round => {
      const weighed = weighLosses(presences, doubtInput(stored, membership.current(), clock.elapsed()));
      presences = weighed.presences;
      const started = performance.now();
      const { members: believed, doubted: doubtedOf } = weighed;
      const trouble = membership.trouble();
      const plan = planner({
        ...stored,
        ...{ members: believed, doubted: doubtedOf, membershipTrouble: trouble, now: clock.now() },
      });
      const planMs = performance.now() - started;
      const time = new Date(clock.now()).toISOString();
      const moment = { members: weighed.members, now: clock.elapsed(), time };
      const staged = stage(plan, stored, moment);
      const members = membership.current();
      const writes = writesFor(staged.plan, stored, members, time, sameConfig, staged.rollouts);
      const news = memberEvents(membersBefore, members, stored.nodes);
      membersBefore = members;
      const doubted = [...weighed.doubted.values()].flat();
      const turnMs =
        plan.nextTurn === undefined ? RESYNC_MS : Math.max(MIN_TURN_MS, plan.nextTurn - clock.now());
      return { plan, planMs, doubted, writes, news, wakeMs: Math.min(turnMs, staged.wakeMs ?? RESYNC_MS) };
    },
    tell: ({ plan, planMs, doubted }: Round, { done, overtaken, failed }: PublishReport): void => {
      const figures = {
        planMs: Math.round(planMs * 10) / 10,
        movedSlots: plan.movedSlots,
        written: done.length,
        overtaken: overtaken.length,
        failed: failed.length,
      };
      const idle = done.length + overtaken.length + failed.length === 0;
      logger[idle ? "debug" : "info"](figures, idle ? "planned; nothing to write" : "planned and published");
      for (const [gateway, addresses] of plan.withdrawn) {
        logger.warn(
          { gateway, addresses },
          "addresses were taken away: the gateway's pool does not have them",
        );
      }
      for (const { what, error } of failed) {
        logger.error({ code: error.code, details: error.details }, `${what} failed: ${error.message}`);
      }
      if (doubted.join() !== doubtedBefore) {
        doubtedBefore = doubted.join();
        logger.warn({ doubted }, "the loss of these nodes at once is doubted: they keep their slots");
      }
      record({ ...figures, planSeconds: planMs / 1000, doubtedNodes: doubted.length });
    },
  };
}

/** Compares each version of a configuration with each plan of it only once: configurations are large and rarely change. */
function rememberSameConfigs(): SameConfig {
  const known = new Map<string, { readonly version: string; readonly planned: NodeConfigSpec }>();
  return ({ metadata, spec }, planned) => {
    const entry = known.get(metadata.name);
    if (entry?.version === metadata.resourceVersion && entry.planned === planned) return true;
    const same = isDeepStrictEqual(spec, planned);
    if (same) known.set(metadata.name, { version: metadata.resourceVersion, planned });
    return same;
  };
}
