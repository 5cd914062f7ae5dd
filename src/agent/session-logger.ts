/** Writes down when sessions begin and end, of gateways that ask for it. Never holds up the forwarding: what cannot be written is lost, and said to be. */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { SessionEvent, SessionEvents } from "../dataplane/session-log.ts";
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { SessionLine } from "../sight/session-line.ts";
import { startTaskLoop } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";

/** The kernel's buffer holds about 40,000 events: enough for 200,000 a second. */
const POLL_MS = 200;
/** While no gateway logs. */
const IDLE_MS = 2000;

export interface SessionLoggerOptions {
  readonly events: SessionEvents;
  /** How many events the kernel had no room for, so far. */
  readonly lostInKernel: () => number;
  readonly node: string;
  readonly config: () => NodeConfig["spec"] | undefined;
  /** Takes lines with their ends; false when it cannot take any now. */
  readonly write: (text: string) => boolean;
  readonly linesPerSecond: number;
  readonly logger: AgentLogger;
  readonly clock?: Clock | undefined;
}

export interface SessionLogger {
  /** Writes what has happened until now, and ends. */
  stop(): Promise<void>;
}

export function startSessionLogger(options: SessionLoggerOptions): SessionLogger {
  const { events, lostInKernel, node, config, write, linesPerSecond, logger } = options;
  const { clock = SYSTEM_CLOCK } = options;
  let knownLost = lostInKernel();
  let lost = 0;
  let second = 0;
  let written = 0;

  const poll = (): void => {
    const now = clock.now();
    if (Math.floor(now / 1000) !== second) {
      second = Math.floor(now / 1000);
      written = 0;
    }
    const happened = events.read();
    const fitting = happened.slice(0, linesPerSecond - written);
    const inKernel = lostInKernel();
    lost += happened.length - fitting.length + Math.max(0, inKernel - knownLost);
    knownLost = inKernel;
    const nameOf = gatewayNames(config());
    const lines: SessionLine[] = fitting.map((event) => lineOf(event, node, nameOf, now));
    if (lost > 0) lines.push({ time: new Date(now).toISOString(), event: "lost", node, count: lost });
    if (lines.length === 0) return;
    if (!write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""))) {
      lost += fitting.length;
      return;
    }
    written += fitting.length;
    lost = 0;
  };
  const run = async (): Promise<number> => {
    try {
      poll();
    } catch (thrown) {
      logger.warn(`the session log cannot be kept: ${asNattoError(thrown).message}`);
    }
    return config()?.gateways.some(({ log }) => log !== "None") ? POLL_MS : IDLE_MS;
  };
  const loop = startTaskLoop(run, 0, clock);
  return {
    async stop() {
      await loop.stop();
      await run();
      events.close();
    },
  };
}

/** `now` is epoch ms. */
function lineOf(
  { event, age, protocol, ...ends }: SessionEvent,
  node: string,
  nameOf: (publicAddress: string) => string,
  now: number,
): SessionLine {
  const text = ({ address, port }: SessionEvent["inside"]) => `${address}:${port}`;
  return {
    time: new Date(now - age * 1000).toISOString(),
    event,
    node,
    gateway: nameOf(ends.public.address),
    protocol,
    inside: text(ends.inside),
    public: text(ends.public),
    remote: text(ends.remote),
  };
}

function gatewayNames(config: NodeConfig["spec"] | undefined): (publicAddress: string) => string {
  const names = new Map(
    (config?.gateways ?? []).flatMap(({ namespace, name, addresses }) =>
      addresses.map(({ address }) => [address, `${namespace}/${name}`] as const),
    ),
  );
  return (publicAddress) => names.get(publicAddress) ?? "";
}
