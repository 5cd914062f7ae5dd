/**
 * Follows this node's NodeConfig: starts from the snapshot, then watches the store, judges what comes, and holds and saves what
 * is obeyed.
 */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError, describeError } from "../errors.ts";
import { type NodeConfig, nodeConfigSchema } from "../model/node-config.ts";
import { checkSchema } from "../model/validate.ts";
import { openMirror } from "../store/mirror.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop, within } from "../task-loop.ts";
import { type ConfigNews, gatewayKey, judgeConfig, type Verdict } from "./config-judgement.ts";
import { type ConfigState, type HeldConfigOptions, holdConfig } from "./held-config.ts";

/** News that is doubted is judged again after this time, since the rest of the store may have changed. */
const RECHECK_MS = 30_000;
const RETRY_MS = 5000;

export interface ConfigFollowerOptions extends HeldConfigOptions {
  readonly store: Store;
  /** How long the store may take to say something newer before the snapshot is handed over, in milliseconds. */
  readonly patienceMs: number;
  readonly clock?: Clock | undefined;
}

export interface ConfigFollower {
  state(): ConfigState;
  close(): Promise<void>;
}

/** Reads the snapshot, hands it over and begins to follow the store; resolves without waiting for the store longer than it may. */
export async function startConfigFollower(options: ConfigFollowerOptions): Promise<ConfigFollower> {
  const { store, node, cell, logger, patienceMs, clock = SYSTEM_CLOCK } = options;
  const holding = holdConfig(options);
  const readNews = newsReader();

  const judge = async (news: ConfigNews): Promise<Verdict> => {
    const { held, doubt } = holding.state();
    const context = { node, cell, held, declared: undefined, doubted: doubt?.reason };
    const verdict = judgeConfig(news, context);
    if (verdict.verdict !== "ask") return verdict;
    return judgeConfig(news, { ...context, declared: await declaredGateways(store, cell) });
  };

  await holding.loadSnapshot();
  const mirror = openMirror(store, { kind: "NodeConfig", name: node }, { clock });
  if (patienceMs > 0) await within(patienceMs, mirror.untilSynced(), clock);
  if (!mirror.synced()) holding.handOver();
  const run = async (): Promise<number> => {
    if (!mirror.synced()) return RECHECK_MS;
    const news = readNews(mirror.get(node));
    holding.asked();
    try {
      const verdict = await judge(news);
      if (verdict.verdict === "obey" && news.kind === "present") holding.obey(news.config);
      else if (verdict.verdict === "doubt") holding.distrust(verdict.reason, verdict.message);
      else holding.trust();
    } catch (thrown) {
      const { message } = asNattoError(thrown);
      logger.warn(
        `news about this node's configuration cannot be judged before the store answers: ${message}`,
      );
      return RETRY_MS;
    } finally {
      // What is doubted or cannot be judged leaves the snapshot in force.
      holding.handOver();
    }
    return (await holding.save()) ? RECHECK_MS : RETRY_MS;
  };
  const loop = startTaskLoop(run, 0, clock);
  const stopListening = mirror.onChange(() => loop.kick());

  return {
    state: holding.state,
    async close() {
      stopListening();
      await loop.stop();
      await mirror.close();
    },
  };
}

/** The gateways of the cell that the store holds, by `gatewayKey`. */
async function declaredGateways(store: Store, cell: string): Promise<ReadonlySet<string>> {
  const { items } = await store.list({ kind: "NatGateway" });
  const ofCell = items.filter((gateway) => gateway.spec.cell === cell);
  return new Set(ofCell.map(({ metadata }) => gatewayKey(metadata.namespace ?? "", metadata.name)));
}

/** Reads what the store holds; the same object is checked only once, since a large one takes a while. */
function newsReader(): (stored: NodeConfig | undefined) => ConfigNews {
  let last: NodeConfig | undefined;
  let news: ConfigNews = { kind: "missing" };
  return (stored) => {
    if (!stored) return { kind: "missing" };
    if (stored === last) return news;
    last = stored;
    try {
      news = { kind: "present", config: checkSchema(nodeConfigSchema, stored) };
    } catch (thrown) {
      news = { kind: "unknown", fault: describeError(asNattoError(thrown)) };
    }
    return news;
  };
}
