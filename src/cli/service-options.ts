/** Options and life of the long-running services `natto server` and `natto controller`. */
import { Option } from "commander";
import type { Logger } from "pino";
import { LOG_LEVELS, type LogLevel, openLogger } from "../logger.ts";
import { describeDamage } from "../store/object-codec.ts";
import type { Store } from "../store/store.ts";
import { untilStopped } from "./stop-signal.ts";

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
  ) => Promise<Readonly<Record<string, unknown>>>,
): Promise<void> {
  const stopped = untilStopped();
  const { openStore } = await import("../store/open-store.ts");
  const logger = openLogger(options.logLevel);
  await using running = new AsyncDisposableStack();
  const store = await openStore(options.store, (damage) => logger.error(damage, describeDamage(damage)));
  running.defer(() => store.close());
  const facts = await start(store, logger, running);
  logger.info({ ...facts, store: store.description, pid: process.pid }, "ready");
  logger.info({ signal: await stopped }, "stopping");
}

/** Starts the controller on a store, with the members that the agents' heartbeats show. */
export async function startControl(
  store: Store,
  logger: Logger,
  running: AsyncDisposableStack,
): Promise<void> {
  const [{ openStoreMembership }, { startController }] = await Promise.all([
    import("../membership/store-membership.ts"),
    import("../controller/controller.ts"),
  ]);
  const membership = openStoreMembership(store);
  running.defer(() => membership.close());
  const controller = startController({ store, membership, logger });
  running.defer(() => controller.close());
}
