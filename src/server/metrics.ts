/** What the server tells Prometheus. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export interface ServerMetrics {
  request(labels: { method: string; kind: string; code: number }, seconds: number): void;
  watchOpened(kind: string): void;
  watchClosed(kind: string): void;
}

/** A registry with the metrics that every process has. */
export function makeRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

export function makeServerMetrics(registry: Registry): ServerMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: "natto_api_requests_total",
    help: "Requests that were answered, by method, kind and HTTP status. Watches count when they end.",
    labelNames: ["method", "kind", "code"],
    registers,
  });
  const duration = new Histogram({
    name: "natto_api_request_duration_seconds",
    help: "Time to answer a request; watches excluded.",
    labelNames: ["method", "kind"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  const watches = new Gauge({
    name: "natto_api_open_watches",
    help: "Watches that are open now.",
    labelNames: ["kind"],
    registers,
  });
  return {
    request: ({ method, kind, code }, seconds) => {
      requests.inc({ method, kind, code });
      if (method !== "WATCH") duration.observe({ method, kind }, seconds);
    },
    watchOpened: (kind) => watches.inc({ kind }),
    watchClosed: (kind) => watches.dec({ kind }),
  };
}
