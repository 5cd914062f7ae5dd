/** Where lines of the session log go: a file, or standard output. */
import { createWriteStream } from "node:fs";
import type { AgentLogger } from "./agent-logger.ts";

/** Text that the disk has not taken yet; beyond it nothing more is taken. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

export interface LineSink {
  /** False when too much is waiting already. */
  write(text: string): boolean;
  close(): Promise<void>;
}

/** Opens a file to append to, or standard output for `-`. Faults of the file are logged, once each. */
export function openLineSink(file: string, logger: AgentLogger): LineSink {
  const stream = file === "-" ? process.stdout : createWriteStream(file, { flags: "a", mode: 0o600 });
  let fault: string | undefined;
  stream.on("error", (error: Error) => {
    if (fault !== error.message) logger.error(`cannot write the session log: ${error.message}`);
    fault = error.message;
  });
  return {
    write(text) {
      if (fault !== undefined || stream.writableLength > MAX_WAITING_BYTES) return false;
      stream.write(text);
      return true;
    },
    async close() {
      if (stream === process.stdout || fault !== undefined) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      stream.end(resolve);
      stream.once("error", () => resolve());
      await promise;
    },
  };
}
