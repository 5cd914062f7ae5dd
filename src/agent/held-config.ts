/** The configuration that the node holds: what it obeys, what it doubts, and its snapshot on disk. */
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { type DoubtReason, judgeConfig } from "./config-judgement.ts";
import { configDigest } from "./node-config-check.ts";
import type { WantedConfig } from "./reconciler.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";

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

/** `refused` says why the snapshot that was there at the start was not taken. */
export type SnapshotState =
  | { readonly state: "none" | "saved"; readonly refused: string | undefined }
  | { readonly state: "unsaved"; readonly refused: string | undefined; readonly message: string };

export interface HeldConfigOptions {
  readonly node: string;
  readonly cell: string;
  readonly stateFolder: string;
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
  /** Takes up the snapshot, if there is a good one. */
  loadSnapshot(): Promise<void>;
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
  const { node, cell, stateFolder, logger, onConfig, onChange, now } = options;
  let state: ConfigState = {
    held: undefined,
    asked: false,
    doubt: undefined,
    snapshot: { state: "none", refused: undefined },
  };
  /** Names of the content that is held, and of the content that is on the disk. */
  let heldVersion: string | undefined;
  let savedVersion: string | undefined;

  const change = (next: Partial<ConfigState>): void => {
    state = { ...state, ...next };
    onChange();
  };
  const obey = (config: NodeConfig): void => {
    const { uid, generation } = config.metadata;
    const digest = configDigest(config.spec);
    const version = `${uid} ${generation} ${digest}`;
    const known = version === heldVersion;
    heldVersion = version;
    if (known && !state.doubt) return;
    change({ held: config, doubt: undefined });
    if (!known) onConfig(config, { generation, digest, spec: config.spec });
  };
  const distrust = (reason: DoubtReason, message: string): void => {
    if (state.doubt?.reason === reason && state.doubt.message === message) return;
    logger.error({ reason }, `the news about this node's configuration is doubted: ${message}`);
    change({ doubt: { reason, message, since: now() } });
  };

  return {
    state: () => state,
    obey,
    distrust,
    asked: () => state.asked || change({ asked: true }),
    trust: () => state.doubt && change({ doubt: undefined }),
    async loadSnapshot() {
      const read = await readSnapshot(stateFolder, node, now());
      if (read.found === "nothing") return;
      if (read.found === "refused") {
        logger.error({ reason: read.reason }, read.message);
        return change({ snapshot: { state: "none", refused: read.message } });
      }
      const news = { kind: "present", config: read.config } as const;
      const verdict = judgeConfig(news, { node, cell, held: undefined, declared: undefined });
      if (verdict.verdict === "doubt") return distrust(verdict.reason, verdict.message);
      obey(read.config);
      savedVersion = heldVersion;
      change({ snapshot: { state: "saved", refused: undefined } });
      logger.info(`starts from its snapshot: NodeConfig generation ${read.config.metadata.generation}`);
    },
    async save() {
      const { held, snapshot } = state;
      if (!held || heldVersion === savedVersion) return true;
      const version = heldVersion;
      const { refused } = snapshot;
      try {
        await writeSnapshot(stateFolder, held);
        savedVersion = version;
        change({ snapshot: { state: "saved", refused } });
        return true;
      } catch (thrown) {
        const { message } = asNattoError(thrown);
        if (snapshot.state !== "unsaved") logger.error(`the snapshot is not saved: ${message}`);
        change({ snapshot: { state: "unsaved", refused, message } });
        return false;
      }
    },
  };
}
