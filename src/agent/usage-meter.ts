/** Measures from time to time how much of its ports each gateway uses on this node. */
import { setImmediate as letOthersRun } from "node:timers/promises";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import type { Dataplane } from "../dataplane/dataplane.ts";
import { makeUsageTally } from "../dataplane/usage-tally.ts";
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { fullPercent, type GatewayUsage } from "../model/usage.ts";
import { startTaskLoop } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";

export const USAGE_INTERVAL_MS = 10_000;
/** A large table takes long to read: at most this share of a CPU's time goes into it. */
const MAX_SHARE = 1 / 20;
/** How long after a refused flow a gateway counts as refusing. */
export const REFUSING_MS = 60_000;

export interface UsageMeterOptions {
  readonly dataplane: Pick<Dataplane, "usageRecords" | "gatewayCounters">;
  readonly node: string;
  /** What the dataplane runs. */
  readonly config: () => NodeConfig["spec"] | undefined;
  readonly logger: AgentLogger;
  readonly clock?: Clock | undefined;
}

export interface UsageMeter {
  /** As last measured. */
  state(): readonly GatewayUsage[];
  stop(): Promise<void>;
}

/** What is remembered of a gateway between two measurements. */
interface Memory {
  readonly peakPercent: number;
  readonly refused: number;
  /** When the number of refused flows was last seen to grow. */
  readonly refusedAt: number | undefined;
}

export function startUsageMeter(options: UsageMeterOptions): UsageMeter {
  const { config, logger, clock = SYSTEM_CLOCK } = options;
  let memory: ReadonlyMap<string, Memory> = new Map();
  let usage: readonly GatewayUsage[] = [];

  const measure = async (spec: NodeConfig["spec"]): Promise<void> => {
    const measured = await measureOnce(options, spec, memory, clock.elapsed());
    memory = measured.memory;
    usage = measured.usage;
  };
  const run = async (): Promise<number> => {
    const spec = config();
    if (!spec) return USAGE_INTERVAL_MS;
    const began = clock.elapsed();
    try {
      await measure(spec);
    } catch (thrown) {
      logger.warn(`the use of ports cannot be measured: ${asNattoError(thrown).message}`);
    }
    return Math.max(USAGE_INTERVAL_MS, (clock.elapsed() - began) / MAX_SHARE);
  };
  const loop = startTaskLoop(run, 0, clock);
  return { state: () => usage, stop: () => loop.stop() };
}

/** `now` is in milliseconds of a clock that does not go back. */
async function measureOnce(
  { dataplane, node }: UsageMeterOptions,
  spec: NodeConfig["spec"],
  memory: ReadonlyMap<string, Memory>,
  now: number,
): Promise<{ readonly usage: readonly GatewayUsage[]; readonly memory: ReadonlyMap<string, Memory> }> {
  const tally = makeUsageTally(spec, node);
  for (const part of dataplane.usageRecords()) {
    for (const record of part) tally.add(record);
    await letOthersRun();
  }
  const counters = dataplane.gatewayCounters(spec);
  const next = new Map<string, Memory>();
  const usage = tally.result().map((counted): GatewayUsage => {
    const before = memory.get(counted.gateway);
    const refused = counters.get(counted.gateway)?.drop_no_port?.packets ?? 0;
    const grew = before !== undefined && refused > before.refused;
    const refusedAt = grew ? now : before?.refusedAt;
    const peakPercent = Math.max(before?.peakPercent ?? 0, fullPercent(counted));
    next.set(counted.gateway, { peakPercent, refused, refusedAt });
    const refusing = refusedAt !== undefined && now - refusedAt < REFUSING_MS;
    return { ...counted, peakPercent, refused, refusing };
  });
  return { usage, memory: next };
}
