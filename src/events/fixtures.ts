/** What tests of events share. */
import { type Event, eventSchema } from "../model/event.ts";
import { API_VERSION } from "../model/meta.ts";
import type { Occurrence } from "./occurrence.ts";

/** Something that happened to node `n1`. */
export function occurrence(reason: string, note = "", name = "n1"): Occurrence {
  return { regarding: { kind: "GatewayNode", name }, type: "Warning", reason, note };
}

/** An Event that happened last at this time (epoch ms). */
export function event(name: string, regarding: Event["spec"]["regarding"], last: number): Event {
  const time = new Date(last).toISOString();
  return eventSchema.parse({
    apiVersion: API_VERSION,
    kind: "Event",
    metadata: { name, namespace: regarding.namespace ?? "default" },
    spec: {
      ...{ regarding, type: "Warning", reason: "Test", note: "a note", count: 1 },
      ...{ firstTime: time, lastTime: time, reporter: "n2" },
    },
  });
}
