/** Keeps the snapshot on disk equal to what the node holds, and remembers how that went. */
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { readSnapshot, type SnapshotRead, writeSnapshot } from "./snapshot.ts";

/** Where snapshots outlive the process: a folder of this machine, or in a simulation something that stands for one. */
export interface SnapshotDisk {
  /** What is there for the node. `now` is epoch ms. */
  read(node: string, now: number): Promise<SnapshotRead>;
  /** Throws `Environment`. */
  write(config: NodeConfig): Promise<void>;
}

export function snapshotFolder(stateFolder: string): SnapshotDisk {
  return {
    read: (node, now) => readSnapshot(stateFolder, node, now),
    write: (config) => writeSnapshot(stateFolder, config),
  };
}

/** `refused` says why the snapshot that was there at the start was not taken. */
export type SnapshotState =
  | { readonly state: "none" | "saved"; readonly refused: string | undefined }
  | { readonly state: "unsaved"; readonly refused: string | undefined; readonly message: string };

export interface SnapshotKeeper {
  state(): SnapshotState;
  /** The snapshot that is there, if it is good. `now` is epoch ms. */
  load(now: number): Promise<NodeConfig | undefined>;
  /** Saves the configuration, unless the same object was saved or loaded last; false when it could not be. */
  save(config: NodeConfig): Promise<boolean>;
}

export function keepSnapshot(disk: SnapshotDisk, node: string, logger: AgentLogger): SnapshotKeeper {
  let state: SnapshotState = { state: "none", refused: undefined };
  let onDisk: NodeConfig | undefined;
  return {
    state: () => state,
    async load(now) {
      const read = await disk.read(node, now);
      if (read.found === "good") {
        onDisk = read.config;
        state = { state: "saved", refused: undefined };
      } else if (read.found === "refused") {
        logger.error({ reason: read.reason }, read.message);
        state = { state: "none", refused: read.message };
      }
      return onDisk;
    },
    async save(config) {
      if (config === onDisk) return true;
      const { refused } = state;
      try {
        await disk.write(config);
        onDisk = config;
        state = { state: "saved", refused };
        return true;
      } catch (thrown) {
        const { message } = asNattoError(thrown);
        if (state.state !== "unsaved") logger.error(`the snapshot is not saved: ${message}`);
        state = { state: "unsaved", refused, message };
        return false;
      }
    },
  };
}
