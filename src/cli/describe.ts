/** What `natto describe` knows about an object, from the object and from what is related to it. Pure. */
import type { AddressPool } from "../model/address-pool.ts";
import type { Cell } from "../model/cell.ts";
import { type Event, formatReference } from "../model/event.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import { type GatewayNode, NODE_READY, ZONE_LABEL } from "../model/gateway-node.ts";
import type { AnyObject } from "../model/kinds.ts";
import type { Leadership } from "../model/leadership.ts";
import type { Lease } from "../model/lease.ts";
import type { Condition } from "../model/meta.ts";
import { effectiveFiltering } from "../model/nat-behaviour.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Placement } from "../model/placement.ts";
import { formatPorts, type PortForward, portCount } from "../model/port-forward.ts";
import type { GatewayUsage } from "../model/usage.ts";
import { formatAge } from "./age.ts";
import { LAST_APPLIED } from "./apply.ts";
import { eventFacts } from "./event-rows.ts";
import type { Facts, Row } from "./facts.ts";
import { formatRange, mergedPorts, nodeName, slotsByOwner } from "./owned-slots.ts";
import { rolloutFacts } from "./rollout-facts.ts";

/** Other objects that say something about the one described; those of kinds that say nothing about it may be left out. */
export interface Related {
  readonly placements: readonly Placement[];
  readonly nodes: readonly GatewayNode[];
  readonly nodeConfig: NodeConfig | undefined;
  readonly lease: Lease | undefined;
  /** What happened to it. */
  readonly events: readonly Event[];
}

/** The facts about an object at `now` (milliseconds since 1970). */
export function describe(object: AnyObject, related: Related, now: number): Facts {
  return { ...factsOf(object, related, now), ...eventFacts(related.events, now) };
}

function factsOf(object: AnyObject, related: Related, now: number): Facts {
  switch (object.kind) {
    case "Cell":
      return { ...identity(object, now), ...cellFacts(object, related, now) };
    case "GatewayNode":
      return { ...identity(object, now), ...nodeFacts(object, related, now) };
    case "AddressPool":
      return { ...identity(object, now), ...poolFacts(object, related, now) };
    case "NatGateway":
      return { ...identity(object, now), ...gatewayFacts(object, related, now) };
    case "FloatingAddress":
    case "PortForward":
      return { ...identity(object, now), ...staticFacts(object, now) };
    case "Placement":
      return { ...identity(object, now), ...placementFacts(object) };
    case "NodeConfig":
      return { ...identity(object, now), ...nodeConfigFacts(object) };
    case "Leadership":
      return { ...identity(object, now), ...leadershipFacts(object) };
    case "Rollout":
      return { ...identity(object, now), ...rolloutFacts(object) };
    case "Event": {
      const { regarding, ...spec } = object.spec;
      return { ...identity(object, now), regarding: formatReference(regarding), ...spec };
    }
    case "Epoch":
      return { ...identity(object, now), ...object.spec };
    case "Lease": {
      const { membership, ...spec } = object.spec;
      return { ...identity(object, now), ...spec, ...(membership && { membership }) };
    }
  }
}

function leadershipFacts({ spec: { lease, ...spec }, status }: Leadership): Facts {
  return { ...spec, ...(lease !== undefined && { lease }), ...status };
}

function identity({ kind, metadata }: AnyObject, now: number): Facts {
  const { [LAST_APPLIED]: _, ...annotations } = metadata.annotations;
  return {
    kind,
    name: metadata.name,
    ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    uid: metadata.uid,
    created: metadata.creationTimestamp,
    age: formatAge(metadata.creationTimestamp, now),
    generation: metadata.generation,
    labels: metadata.labels,
    annotations,
  };
}

function staticFacts(object: FloatingAddress | PortForward, now: number): Facts {
  const { spec, status } = object;
  const common = { cell: spec.cell, publicAddress: status?.address ?? "none" };
  const own =
    object.kind === "FloatingAddress"
      ? { pool: object.spec.pool, inside: object.spec.inside }
      : forwardFacts(object);
  return { ...common, ...own, conditions: conditionRows(status?.conditions, now) };
}

function forwardFacts({ metadata, spec }: PortForward): Facts {
  const count = portCount(spec);
  const { gateway, pool } = spec.public;
  return {
    from: gateway === undefined ? `AddressPool ${pool}` : `NatGateway ${metadata.namespace}/${gateway}`,
    protocol: spec.protocol,
    ports: formatPorts(spec.port, count),
    inside: `${spec.inside.address}:${formatPorts(spec.inside.port, count)}`,
  };
}

function cellFacts({ metadata, spec, status }: Cell, related: Related, now: number): Facts {
  const nodes = related.nodes.filter((node) => node.spec.cell === metadata.name);
  const placements = related.placements.filter((placement) => placement.spec.cell === metadata.name);
  const slots = slotsByNode(placements);
  return {
    readyNodes: status?.readyNodes ?? 0,
    totalNodes: status?.totalNodes ?? 0,
    vxlanPort: spec.vxlan.port,
    routing: spec.routing?.driver ?? "none declared",
    gateways: placements.length,
    membership: spec.membership,
    nodes: nodes.map((node) => ({
      node: node.metadata.name,
      ready: conditionStatus(node.status?.conditions, NODE_READY),
      drain: node.spec.drain,
      weight: node.spec.weight,
      zone: node.metadata.labels[ZONE_LABEL] ?? "",
      address: node.spec.address,
      slots: slots.get(node.metadata.name) ?? 0,
    })),
    conditions: conditionRows(status?.conditions, now),
  };
}

function nodeFacts({ metadata, spec, status }: GatewayNode, related: Related, now: number): Facts {
  const { nodeConfig, lease } = related;
  const current = nodeConfig?.metadata.generation;
  const applied = status?.applied;
  return {
    cell: spec.cell,
    address: spec.address,
    inside: spec.interfaces.inside,
    outside: spec.interfaces.outside,
    zone: metadata.labels[ZONE_LABEL] ?? "none",
    drain: spec.drain,
    weight: spec.weight,
    agent: status?.agent
      ? {
          version: status.agent.version,
          started: status.agent.startedAt,
          up: formatAge(status.agent.startedAt, now),
        }
      : "never reported",
    configuration: {
      current: current ?? "none published",
      applied: applied?.generation ?? "none",
      upToDate: applied !== undefined && applied.generation === current,
      ...(applied ? { at: applied.at, digest: applied.digest } : {}),
    },
    heartbeat: lease
      ? { renewals: lease.spec.renewals, renewedAt: lease.spec.renewedAt, peersAlive: lease.spec.peersAlive }
      : "none",
    ...routingFacts(status?.routing),
    sessions: status?.sessions ?? "unknown",
    slots: nodeSlots(metadata.name, related.placements),
    ...usageFacts(
      (status?.usage ?? []).map((usage) => [usage.gateway, usage] as const),
      "gateway",
    ),
    counters: status?.counters ?? {},
    conditions: conditionRows(status?.conditions, now),
  };
}

/** What the nodes report of a gateway. */
function usageOn(nodes: readonly GatewayNode[], gateway: string): (readonly [string, GatewayUsage])[] {
  return nodes.flatMap(({ metadata, status }) => {
    const usage = status?.usage?.find((reported) => reported.gateway === gateway);
    return usage ? [[metadata.name, usage] as const] : [];
  });
}

/** The use of ports, a row for each node of a gateway or gateway of a node; nothing where none is reported. */
function usageFacts(reported: readonly (readonly [string, GatewayUsage])[], of: "node" | "gateway"): Facts {
  if (reported.length === 0) return {};
  const sum = (usage: GatewayUsage, what: "total" | "tcp" | "udp" | "icmp") =>
    usage.addresses.reduce((total, counts) => total + counts[what], 0);
  return {
    portUse: reported.map(([name, usage]) => ({
      [of]: name,
      sessions: usage.sessions,
      ports: sum(usage, "total"),
      tcp: sum(usage, "tcp"),
      udp: sum(usage, "udp"),
      icmp: sum(usage, "icmp"),
      fullest: usage.fullest
        ? `${usage.fullest.used} of ${usage.fullest.of} (${usage.fullest.ports} ${usage.fullest.protocol})`
        : "",
      peak: `${usage.peakPercent}%`,
      refused: usage.refused,
      topEndpoints: usage.endpoints.map(({ address, sessions }) => `${address} (${sessions})`),
    })),
  };
}

/** What the node announces, and its sessions with the fabric; nothing where its cell declares no routing. */
function routingFacts(routing: NonNullable<GatewayNode["status"]>["routing"]): Facts {
  if (!routing) return {};
  const { inside, outside, omitted } = routing.announced;
  return {
    announced: { inside, outside, ...(omitted > 0 ? { more: omitted } : {}) },
    fabricSessions: routing.sessions.map(({ name, side, peer, peerAs, state, up, message }) => ({
      session: name,
      side,
      peer,
      peerAs,
      state,
      trouble: up ? "" : message,
    })),
  };
}

/** The slots that a node owns, and how many more it is next in line for, by gateway and address. */
function nodeSlots(node: string, placements: readonly Placement[]): Row[] {
  return placements.flatMap(({ metadata, spec }) => {
    const index = spec.nodes.indexOf(node);
    if (index < 0) return [];
    return spec.addresses.map(({ address, owners, backups }) => {
      const own = owners.flatMap((owner, slot) => (owner === index ? [slot] : []));
      return {
        gateway: `${metadata.namespace}/${metadata.name}`,
        address,
        slots: own.length,
        of: owners.length,
        nextInLine: backups.filter((backup) => backup === index).length,
        ports: mergedPorts(own, spec.portsPerSlot).map(formatRange),
      };
    });
  });
}

function poolFacts({ metadata, spec, status }: AddressPool, related: Related, now: number): Facts {
  const held = related.placements.filter((placement) => placement.spec.pool === metadata.name);
  return {
    cidrs: spec.cidrs,
    allocated: status?.allocated ?? 0,
    total: status?.total ?? 0,
    addresses: held.flatMap((placement) =>
      placement.spec.addresses.map(({ address }) => ({
        address,
        gateway: `${placement.metadata.namespace}/${placement.metadata.name}`,
      })),
    ),
    conditions: conditionRows(status?.conditions, now),
  };
}

function gatewayFacts({ metadata, spec, status }: NatGateway, related: Related, now: number): Facts {
  const placement = related.placements.find(
    (candidate) =>
      candidate.metadata.namespace === metadata.namespace && candidate.metadata.name === metadata.name,
  );
  const addresses = placement?.spec.addresses.map(({ address }) => address) ?? [];
  return {
    cell: spec.cell,
    sources: spec.sources,
    pool: spec.addresses.pool,
    addresses,
    addressesWanted: spec.addresses.count,
    shardSize: spec.shard.size,
    portsPerSlot: spec.ports.perSlot,
    planned: status?.observedGeneration === metadata.generation,
    allocation: spec.allocation,
    mapping: spec.mapping,
    filtering: effectiveFiltering(spec),
    timeouts: spec.timeouts,
    ...(placement ? placementSlots(placement) : {}),
    ...usageFacts(usageOn(related.nodes, `${metadata.namespace}/${metadata.name}`), "node"),
    conditions: conditionRows(status?.conditions, now),
  };
}

function placementFacts(placement: Placement): Facts {
  const { spec } = placement;
  return {
    cell: spec.cell,
    pool: spec.pool,
    portsPerSlot: spec.portsPerSlot,
    nodes: spec.nodes,
    ...placementSlots(placement),
  };
}

/** Who owns which ports of each address, and who takes over how many slots of whom. */
function placementSlots(placement: Placement): { readonly slots: Row[]; readonly takeOver: Row[] } {
  const { addresses, nodes, portsPerSlot } = placement.spec;
  const slots = addresses.flatMap((placed) =>
    slotsByOwner(placement, placed).map(({ owner, slots: own }) => ({
      address: placed.address,
      owner,
      slots: own.length,
      of: placed.owners.length,
      ports: mergedPorts(own, portsPerSlot).map(formatRange),
    })),
  );
  const heirs = new Map<string, Map<string, number>>();
  for (const { owners, backups } of addresses) {
    for (const [slot, ownerIndex] of owners.entries()) {
      const owner = nodes[ownerIndex];
      if (owner === undefined) continue;
      const heir = nodeName(placement, backups[slot]);
      const counts = heirs.get(owner) ?? new Map<string, number>();
      heirs.set(owner, counts.set(heir, (counts.get(heir) ?? 0) + 1));
    }
  }
  const takeOver = [...heirs].sort(byKey).map(([ifGone, counts]) => ({
    ifGone,
    nextInLine: [...counts].sort(byKey).map(([heir, count]) => `${heir} ${count}`),
  }));
  return { slots, takeOver };
}

function nodeConfigFacts({ spec }: NodeConfig): Facts {
  return {
    cell: spec.cell,
    address: spec.node.address,
    inside: spec.node.interfaces.inside,
    outside: spec.node.interfaces.outside,
    vxlanPort: spec.vxlan.port,
    peers: spec.peers,
    gateways: spec.gateways.map((gateway) => ({
      gateway: `${gateway.namespace}/${gateway.name}`,
      sources: gateway.sources,
      addresses: gateway.addresses.map(({ address }) => address),
      nodes: gateway.nodes,
    })),
  };
}

function slotsByNode(placements: readonly Placement[]): Map<string, number> {
  const slots = new Map<string, number>();
  for (const { spec } of placements) {
    for (const owner of spec.addresses.flatMap(({ owners }) => owners)) {
      const node = spec.nodes[owner];
      if (node !== undefined) slots.set(node, (slots.get(node) ?? 0) + 1);
    }
  }
  return slots;
}

function conditionRows(conditions: readonly Condition[] = [], now: number): Row[] {
  return conditions.map(({ type, status, reason, message, lastTransitionTime }) => ({
    type,
    status,
    since: formatAge(lastTransitionTime, now),
    reason,
    message,
  }));
}

function conditionStatus(conditions: readonly Condition[] = [], type: string): string {
  return conditions.find((condition) => condition.type === type)?.status ?? "Unknown";
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
