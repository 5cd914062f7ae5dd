/** Sessions as a node reports them: each with the gateway and the slot that its public address and port belong to. Pure. */
import { z } from "zod";
import type { Session } from "../dataplane/dataplane.ts";
import type { GatewayConfig, NodeConfig } from "../model/node-config.ts";
import { inboundSlot } from "../model/slots.ts";

const endSchema = z.strictObject({ address: z.string(), port: z.number().int() });

export const reportedSessionSchema = z.strictObject({
  /** `namespace/name`; empty for one whose gateway is gone, and which the next sweep ends. */
  gateway: z.string(),
  slot: z.number().int(),
  protocol: z.enum(["tcp", "udp", "icmp"]),
  inside: endSchema,
  public: endSchema,
  remote: endSchema,
  /** Seconds since the last packet in each direction; left out when there was none. */
  idleOut: z.number().optional(),
  idleIn: z.number().optional(),
});

export type ReportedSession = z.output<typeof reportedSessionSchema>;

export const sessionReportSchema = z.strictObject({
  node: z.string(),
  sessions: z.array(reportedSessionSchema),
  /** How many sessions match, of which `sessions` are at most as many as were asked for. */
  matching: z.number().int(),
});

export type SessionReport = z.output<typeof sessionReportSchema>;

/** Tells sessions' gateways and slots apart by the configuration that the node runs. */
export function sessionReporter(
  config: NodeConfig["spec"] | undefined,
): (session: Session) => ReportedSession {
  const byAddress = new Map<string, GatewayConfig>(
    (config?.gateways ?? []).flatMap((gateway) =>
      gateway.addresses.map((placed) => [placed.address, gateway] as const),
    ),
  );
  return ({ idleOut, idleIn, ...session }) => {
    const gateway = byAddress.get(session.public.address);
    return {
      gateway: gateway ? `${gateway.namespace}/${gateway.name}` : "",
      slot: gateway ? (inboundSlot(session.public.port, gateway.portsPerSlot) ?? -1) : -1,
      ...session,
      ...(idleOut === undefined ? {} : { idleOut }),
      ...(idleIn === undefined ? {} : { idleIn }),
    };
  };
}
