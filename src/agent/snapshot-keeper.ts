/** Keeps the snapshot on disk equal to what the node holds, and remembers how that went. */
import { asNattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { readSnapshot, writeSnapshot } from "./snapshot.ts";

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

export function keepSnapshot(stateFolder: string, node: string, logger: AgentLogger): SnapshotKeeper {
  let state: SnapshotState = { state: "none", refused: undefined };
  let onDisk: NodeConfig | undefined;
  return {
    state: () => state,
    async load(now) {
      const read = await readSnapshot(stateFolder, node, now);
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
        await writeSnapshot(stateFolder, config);
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
