/** What the agent's tests share. */
import { readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Dataplane, Repair } from "../dataplane/dataplane.ts";
import { nodeConfig, SLOT_SIZE } from "../model/fixtures.ts";
import { type NatGateway, natGatewaySchema } from "../model/nat-gateway.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { checkSchema } from "../model/validate.ts";
import type { AgentLogger } from "./agent-logger.ts";

export { nodeConfig, SLOT_SIZE };

/** A logger that keeps what it was told. */
export function recordLogs(): { readonly logger: AgentLogger; texts(): readonly string[] } {
  const kept: string[] = [];
  const log = (first: string | object, second?: string): void => {
    kept.push(typeof first === "string" ? first : (second ?? ""));
  };
  return { logger: { debug: log, info: log, warn: log, error: log }, texts: () => kept };
}

/** A folder that is gone when the test is over. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "natto-agent-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Whether a file is there and not empty. */
export function hasContent(file: string): boolean {
  return (statSync(file, { throwIfNoEntry: false })?.size ?? 0) > 0 && readFileSync(file).length > 0;
}

/** A NatGateway of cell `c1`, as people declare it; the fixture's NodeConfigs have gateways of the names `gw-0`, `gw-1` and so on. */
export function declaredGateway(name: string): NatGateway {
  return checkSchema(natGatewaySchema, {
    apiVersion: "natto.dev/v1alpha1",
    kind: "NatGateway",
    metadata: { namespace: "team", name },
    spec: { cell: "c1", sources: ["10.0.0.0/24"], addresses: { pool: "p1" } },
  });
}

/** A dataplane that writes down what it was asked, and does as it is told: to fail, to find repairs, to take its time. */
export interface RecordingDataplane extends Dataplane {
  readonly ensured: NodeConfig["spec"][];
  closed: boolean;
  /** How many `ensure` calls ran at once, at most. */
  overlap: number;
  /** What the next calls do. */
  behave: () => Promise<readonly Repair[]>;
}

export function recordingDataplane(): RecordingDataplane {
  let running = 0;
  const dataplane: RecordingDataplane = {
    ensured: [],
    closed: false,
    overlap: 0,
    behave: async () => [],
    async ensure(spec) {
      running++;
      dataplane.overlap = Math.max(dataplane.overlap, running);
      dataplane.ensured.push(spec);
      try {
        return { repairs: await dataplane.behave() };
      } finally {
        running--;
      }
    },
    status: () => ({
      counters: { translated_out: dataplane.ensured.length },
      sessions: { used: 1, capacity: 10 },
    }),
    sessions: () => [],
    setDead: () => {},
    noteReturn: () => {},
    standsDown: () => false,
    standUp: () => {},
    usageRecords: () => [],
    sessionEvents: () => ({ read: () => [], close: () => {} }),
    gatewayCounters: () => new Map(),
    close() {
      dataplane.closed = true;
    },
  };
  return dataplane;
}
