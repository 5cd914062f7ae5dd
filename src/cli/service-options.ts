/** Options and life of the long-running services `natto server` and `natto controller`. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { InvalidArgumentError, Option } from "commander";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { damageEvent } from "../events/damage-event.ts";
import { CONTROL_REPORTER } from "../events/occurrence.ts";
import { type EventRecorder, NO_RECORDER, startEventRecorder } from "../events/recorder.ts";
import { LOG_LEVELS, type LogLevel, openLogger } from "../logger.ts";
import { DEFAULT_TTL_MS } from "../model/leadership.ts";
import { describeDamage } from "../store/object-codec.ts";
import type { Store } from "../store/store.ts";
import { untilStopped } from "./stop-signal.ts";

/** How long the last events may take to be written when the service ends. */
const LAST_EVENTS_MS = 1000;

export interface ServiceOptions {
  readonly store: string;
  readonly logLevel: LogLevel;
}

export function storeOption(): Option {
  return new Option(
    "--store <url>",
    "where objects are kept: file:PATH, memory: or the URL of a natto server",
  ).makeOptionMandatory();
}

export function logLevelOption(): Option {
  return new Option("--log-level <level>", "what is logged to standard error")
    .choices(LOG_LEVELS)
    .default("info");
}

/**
 * Opens the store, calls `start`, logs `ready`, and waits for SIGTERM or SIGINT; then closes in the reverse order what was put on
 * the stack, and the store. When starting fails, closes what has been started by then.
 */
export async function runService(
  options: ServiceOptions,
  start: (
    store: Store,
    logger: Logger,
    running: AsyncDisposableStack,
    events: Pick<EventRecorder, "record">,
  ) => Promise<Readonly<Record<string, unknown>>>,
): Promise<void> {
  const stopped = untilStopped();
  const { openStore } = await import("../store/open-store.ts");
  const logger = openLogger(options.logLevel);
  await using running = new AsyncDisposableStack();
  let events: Pick<EventRecorder, "record"> = NO_RECORDER;
  const store = await openStore(options.store, (damage) => {
    logger.error(damage, describeDamage(damage));
    events.record(damageEvent(damage));
  });
  running.defer(() => store.close());
  const recorder = startEventRecorder({ store, reporter: CONTROL_REPORTER, logger });
  running.defer(() => recorder.stop(LAST_EVENTS_MS));
  events = recorder;
  const facts = await start(store, logger, running, events);
  logger.info({ ...facts, store: store.description, pid: process.pid }, "ready");
  logger.info({ signal: await stopped }, "stopping");
}

/** `--election-ttl SECONDS` */
export function electionOption(): Option {
  return new Option(
    "--election-ttl <seconds>",
    "how long the controller that leads may be silent before another takes over",
  )
    .argParser(parseTtl)
    .default(DEFAULT_TTL_MS / 1000);
}

function parseTtl(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== "" && seconds >= 0.5 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError("Give seconds from 0.5 to 3600.");
}

export interface ControlOptions {
  /** The address of the membership; see `openMembership`. */
  readonly membership: string;
  readonly electionTtl: number;
  readonly registry: Registry;
  readonly events: Pick<EventRecorder, "record">;
}

/** Starts a controller on a store, which works while it leads. */
export async function startControl(
  store: Store,
  logger: Logger,
  running: AsyncDisposableStack,
  { membership: membershipUrl, electionTtl, registry, events }: ControlOptions,
): Promise<void> {
  const [{ openMembership }, { startController }, { openStoreElection }] = await Promise.all([
    import("../membership/open-membership.ts"),
    import("../controller/controller.ts"),
    import("../controller/store-election.ts"),
  ]);
  const membership = openMembership(membershipUrl, store);
  running.defer(() => membership.close());
  const holder = `${hostname()}-${process.pid}-${randomBytes(3).toString("hex")}`;
  const election = openStoreElection({
    store,
    group: "controller",
    holder,
    ttlMs: Math.round(electionTtl * 1000),
    logger,
  });
  running.defer(() => election.close());
  const controller = startController({ store, membership, election, logger, registry, events });
  running.defer(() => controller.close());
}
