/**
 * How much of its ports a gateway uses on a node, as the node reports it. A port is used per protocol, and where the mapping depends on the
 * remote, one port serves many remotes: what tells how near a gateway is to refusing flows is its fullest range of ports toward one remote.
 */
import { z } from "zod";

const portCounts = { tcp: z.number().int(), udp: z.number().int(), icmp: z.number().int() };

export const usageSchema = z.strictObject({
  /** `namespace/name` */
  gateway: z.string(),
  sessions: z.number().int(),
  /** By public address: the ports in this node's slots, and how many of them are in use by each protocol. */
  addresses: z.array(z.strictObject({ address: z.string(), total: z.number().int(), ...portCounts })),
  /** The slot, or the endpoint's block, that is nearest to having no free port. */
  fullest: z
    .strictObject({
      /** Such as `203.0.113.10:1024-2047`. */
      ports: z.string(),
      protocol: z.enum(["tcp", "udp", "icmp"]),
      /** Toward which remote; left out where the ports are in use whatever the remote. */
      remote: z.string().optional(),
      used: z.number().int(),
      of: z.number().int(),
    })
    .optional(),
  /** The highest share of a range that was in use at once since the agent's start. */
  peakPercent: z.number().int(),
  /** New flows that found no free port, since the node's maps were made. */
  refused: z.number().int(),
  /** Flows were refused a moment ago. */
  refusing: z.boolean(),
  /** The endpoints with the most sessions. */
  endpoints: z.array(z.strictObject({ address: z.string(), sessions: z.number().int() })),
});

export type GatewayUsage = z.output<typeof usageSchema>;

/** From here on a range of ports counts as nearly used up. */
export const LOW_PERCENT = 80;

export function fullPercent({ fullest }: Pick<GatewayUsage, "fullest">): number {
  return fullest ? Math.floor((100 * fullest.used) / fullest.of) : 0;
}

/** At most so many gateways are in a node's status, the fullest first; its metrics have all. */
export const REPORTED_GATEWAYS = 20;

/** What of a node's usage goes into its status. */
export function reportedUsage(all: readonly GatewayUsage[]): readonly GatewayUsage[] {
  const urgency = (usage: GatewayUsage) => (usage.refusing ? 1000 : 0) + fullPercent(usage);
  return all
    .toSorted((a, b) => urgency(b) - urgency(a) || (a.gateway < b.gateway ? -1 : 1))
    .slice(0, REPORTED_GATEWAYS);
}
