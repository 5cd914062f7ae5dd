/** A log that nobody reads. */
import type { AgentLogger } from "../../src/agent/agent-logger.ts";

const nothing = (): void => {};

export const SILENT: AgentLogger = { debug: nothing, info: nothing, warn: nothing, error: nothing };
