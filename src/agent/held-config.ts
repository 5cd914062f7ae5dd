/** The configuration that the node holds: what it obeys, what it doubts, and its snapshot on disk. */
import type { NodeConfig } from "../model/node-config.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type DoubtReason, judgeConfig } from "./config-judgement.ts";
import { configDigest } from "./node-config-check.ts";
import type { WantedConfig } from "./reconciler.ts";
import { keepSnapshot, type SnapshotDisk, type SnapshotState } from "./snapshot-keeper.ts";

export interface ConfigState {
  /** What the node runs: the last configuration that was obeyed. */
  readonly held: NodeConfig | undefined;
  /** Whether the store has told, since the agent's start, what this node's configuration is. */
  readonly asked: boolean;
  /** `since` is epoch ms. */
  readonly doubt: Doubt | undefined;
  readonly snapshot: SnapshotState;
}

export interface Doubt {
  readonly reason: DoubtReason;
  readonly message: string;
  readonly since: number;
}

export interface HeldConfigOptions {
  readonly node: string;
  readonly cell: string;
  readonly snapshots: SnapshotDisk;
  readonly logger: AgentLogger;
  /** Called with each configuration that is to be applied. */
  readonly onConfig: (config: NodeConfig, wanted: WantedConfig) => void;
  /** Called after the state has changed. */
  readonly onChange: () => void;
  /** Epoch ms. */
  readonly now: () => number;
}

export interface HeldConfig {
  state(): ConfigState;
  /** Takes up the snapshot, if there is a good one; it is not handed over yet. */
  loadSnapshot(): Promise<void>;
  /** Hands over what is held, unless that is done already. */
  handOver(): void;
  /** The store has told something. */
  asked(): void;
  obey(config: NodeConfig): void;
  distrust(reason: DoubtReason, message: string): void;
  /** There is nothing to doubt any more. */
  trust(): void;
  /** Saves what is held, unless that is done already; false when it could not be. */
  save(): Promise<boolean>;
}

export function holdConfig(options: HeldConfigOptions): HeldConfig {
  const { node, cell, snapshots, logger, onConfig, onChange, now } = options;
  const snapshot = keepSnapshot(snapshots, node, logger);
  let held: NodeConfig | undefined;
  let heldVersion: string | undefined;
  let asked = false;
  let doubt: Doubt | undefined;
  /** What is held, as it is to be handed over; undefined once that is done. */
  let waiting: WantedConfig | undefined;

  const handOver = (): void => {
    if (!held || !waiting) return;
    const wanted = waiting;
    waiting = undefined;
    onConfig(held, wanted);
  };
  const hold = (config: NodeConfig): void => {
    const { uid, generation } = config.metadata;
    const digest = configDigest(config.spec);
    const version = `${uid} ${generation} ${digest}`;
    const known = version === heldVersion;
    if (known && !doubt) return;
    doubt = undefined;
    if (!known) {
      held = config;
      heldVersion = version;
      waiting = { generation, digest, spec: config.spec };
    }
    onChange();
  };
  const distrust = (reason: DoubtReason, message: string): void => {
    if (doubt?.reason === reason && doubt.message === message) return;
    logger.error({ reason }, `the news about this node's configuration is doubted: ${message}`);
    doubt = { reason, message, since: now() };
    onChange();
  };

  return {
    state: () => ({ held, asked, doubt, snapshot: snapshot.state() }),
    handOver,
    obey(config) {
      hold(config);
      handOver();
    },
    distrust,
    asked() {
      if (asked) return;
      asked = true;
      onChange();
    },
    trust() {
      if (!doubt) return;
      doubt = undefined;
      onChange();
    },
    async loadSnapshot() {
      const config = await snapshot.load(now());
      if (!config) return onChange();
      const news = { kind: "present", config } as const;
      const verdict = judgeConfig(news, {
        node,
        cell,
        held: undefined,
        declared: undefined,
        doubted: undefined,
      });
      if (verdict.verdict === "doubt") return distrust(verdict.reason, verdict.message);
      logger.info(`starts from its snapshot: NodeConfig generation ${config.metadata.generation}`);
      hold(config);
    },
    async save() {
      if (!held) return true;
      const saved = await snapshot.save(held);
      onChange();
      return saved;
    },
  };
}
