/** What the agent tells Prometheus about its node: read from the dataplane when it is asked for. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Dataplane } from "../dataplane/dataplane.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { fullPercent, type GatewayUsage } from "../model/usage.ts";

export interface MetricSources {
  readonly config: () => NodeConfig["spec"] | undefined;
  /** As last measured. */
  readonly usage: () => readonly GatewayUsage[];
}

const PROTOCOLS = ["tcp", "udp", "icmp"] as const;

/** Returns the function that makes the text. */
export function makeAgentMetrics(
  node: string,
  dataplane: Pick<Dataplane, "status" | "gatewayCounters">,
  { config, usage }: MetricSources,
): () => Promise<{ readonly contentType: string; readonly text: string }> {
  const registry = new Registry();
  registry.setDefaultLabels({ node });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: readonly string[]) =>
    new Counter({ name, help, labelNames: [...labelNames], registers });
  const gauge = (name: string, help: string, labelNames: readonly string[] = []) =>
    new Gauge({ name, help, labelNames: [...labelNames], registers });
  const since = "since the maps were made";
  const packets = counter(
    "natto_dataplane_packets_total",
    `Packets and events by counter (docs/dataplane.md), ${since}.`,
    ["counter"],
  );
  const gatewayPackets = counter(
    "natto_gateway_packets_total",
    `Packets and events by gateway and counter, in slots of this node, ${since}.`,
    ["gateway", "counter"],
  );
  const gatewayBytes = counter(
    "natto_gateway_bytes_total",
    `Bytes of whole frames by gateway and counter, in slots of this node, ${since}.`,
    ["gateway", "counter"],
  );
  const sessions = gauge("natto_sessions", "Live sessions.");
  const capacity = gauge("natto_sessions_capacity", "Sessions and mappings that the table has room for.");
  const gatewaySessions = gauge("natto_gateway_sessions", "Live sessions by gateway.", ["gateway"]);
  const portsUsed = gauge("natto_ports_used", "Public ports in use.", ["gateway", "address", "protocol"]);
  const ports = gauge("natto_ports", "Public ports of this node's slots.", ["gateway", "address"]);
  const fullest = gauge(
    "natto_fullest_range_percent",
    "Share of the fullest slot or block that is in use toward one remote.",
    ["gateway"],
  );

  const own = [packets, gatewayPackets, gatewayBytes, gatewaySessions, portsUsed, ports, fullest];

  return async () => {
    const status = dataplane.status();
    // What is gone by now must not be told any more.
    for (const metric of own) metric.reset();
    for (const [name, count] of Object.entries(status.counters)) packets.inc({ counter: name }, count);
    sessions.set(status.sessions.used);
    capacity.set(status.sessions.capacity);
    const spec = config();
    for (const [gateway, counts] of spec ? dataplane.gatewayCounters(spec) : []) {
      for (const [name, count] of Object.entries(counts)) {
        if (count.packets === 0) continue;
        gatewayPackets.inc({ gateway, counter: name }, count.packets);
        if (count.bytes > 0) gatewayBytes.inc({ gateway, counter: name }, count.bytes);
      }
    }
    for (const of of usage()) {
      const { gateway } = of;
      gatewaySessions.set({ gateway }, of.sessions);
      fullest.set({ gateway }, fullPercent(of));
      for (const { address, total, ...used } of of.addresses) {
        ports.set({ gateway, address }, total);
        for (const protocol of PROTOCOLS) portsUsed.set({ gateway, address, protocol }, used[protocol]);
      }
    }
    return { contentType: registry.contentType, text: await registry.metrics() };
  };
}
