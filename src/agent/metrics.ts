/** What the agent tells Prometheus about its node: read from the dataplane when it is asked for. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Dataplane } from "../dataplane/dataplane.ts";

/** Returns the function that makes the text. */
export function makeAgentMetrics(
  node: string,
  dataplane: Dataplane,
): () => Promise<{ readonly contentType: string; readonly text: string }> {
  const registry = new Registry();
  registry.setDefaultLabels({ node });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const packets = new Counter({
    name: "natto_dataplane_packets_total",
    help: "Packets and events by counter (docs/dataplane.md), since the maps were made.",
    labelNames: ["counter"],
    registers,
  });
  const sessions = new Gauge({ name: "natto_sessions", help: "Live sessions.", registers });
  const capacity = new Gauge({
    name: "natto_sessions_capacity",
    help: "Sessions and mappings that the table has room for.",
    registers,
  });
  return async () => {
    const status = dataplane.status();
    packets.reset();
    for (const [counter, count] of Object.entries(status.counters)) packets.inc({ counter }, count);
    sessions.set(status.sessions.used);
    capacity.set(status.sessions.capacity);
    return { contentType: registry.contentType, text: await registry.metrics() };
  };
}
