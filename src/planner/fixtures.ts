/** What tests of the planner share: little clouds, and the store's part in planning. */
import type { MemberState } from "../membership/membership.ts";
import type { AddressPool } from "../model/address-pool.ts";
import { DEFAULT_ALLOCATION } from "../model/allocation.ts";
import { type Cell, DEFAULT_ROLLOUT } from "../model/cell.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import { type GatewayNode, ZONE_LABEL } from "../model/gateway-node.ts";
import { API_VERSION, type Condition, type Metadata } from "../model/meta.ts";
import { DEFAULT_BEHAVIOUR } from "../model/nat-behaviour.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import { NOBODY, type Placement } from "../model/placement.ts";
import type { PortForward } from "../model/port-forward.ts";
import type { PlacementSpec } from "./assignment.ts";
import { keyOfObject } from "./order.ts";
import type { Plan, PlanInput } from "./plan.ts";

function metadata(name: string, namespace?: string, age = 0): Metadata {
  const creationTimestamp = new Date(Date.UTC(2026, 0, 1) + age * 1000).toISOString();
  const common = { labels: {}, annotations: {}, resourceVersion: "", generation: 1, creationTimestamp };
  return { name, ...(namespace === undefined ? {} : { namespace }), uid: `uid-of-${name}`, ...common };
}

export function condition(type: string, status: Condition["status"], observedGeneration = 1): Condition {
  return { type, status, reason: "Test", message: "", observedGeneration, lastTransitionTime: "" };
}

export function cell(name: string): Cell {
  const membership = { ttlSeconds: 3, maxLossPercent: 50, confirmedLost: [] };
  const spec = { vxlan: { port: 4789 }, membership, rollout: DEFAULT_ROLLOUT };
  return { apiVersion: API_VERSION, kind: "Cell", metadata: metadata(name), spec };
}

export function pool(name: string, cidrs: string[], age = 0): AddressPool {
  return {
    apiVersion: API_VERSION,
    kind: "AddressPool",
    metadata: metadata(name, undefined, age),
    spec: { cidrs },
  };
}

export interface NodeTraits {
  readonly cell?: string;
  readonly address?: string;
  readonly zone?: string;
  readonly weight?: number;
  readonly drain?: boolean;
  readonly ready?: Condition["status"];
  readonly age?: number;
}

/** A node that reports Ready unless told otherwise. Its address comes from the digits of its name. */
export function node(name: string, traits: NodeTraits = {}): GatewayNode {
  const meta = metadata(name, undefined, traits.age);
  return {
    apiVersion: API_VERSION,
    kind: "GatewayNode",
    metadata: { ...meta, labels: traits.zone === undefined ? {} : { [ZONE_LABEL]: traits.zone } },
    spec: {
      cell: traits.cell ?? "c1",
      address: traits.address ?? `192.0.2.${Number(name.replaceAll(/\D/g, "")) + 1}`,
      interfaces: { inside: "in0", outside: "out0" },
      drain: traits.drain ?? false,
      weight: traits.weight ?? 100,
    },
    status: { observedGeneration: 1, counters: {}, conditions: [condition("Ready", traits.ready ?? "True")] },
  };
}

const { holdDownSeconds, ...DECLARED_DEFAULTS } = DEFAULT_BEHAVIOUR;

export interface GatewayTraits {
  readonly cell?: string;
  readonly pool?: string;
  readonly count?: number;
  readonly size?: number;
  readonly perSlot?: number;
  readonly sources?: string[];
  readonly age?: number;
  readonly generation?: number;
}

/** A gateway whose sources come from the digits of its name unless told otherwise. */
export function gateway(name: string, traits: GatewayTraits = {}): NatGateway {
  const meta = metadata(name, "t", traits.age);
  return {
    apiVersion: API_VERSION,
    kind: "NatGateway",
    metadata: { ...meta, generation: traits.generation ?? 1 },
    spec: {
      cell: traits.cell ?? "c1",
      sources: traits.sources ?? [`10.0.${Number(name.replaceAll(/\D/g, ""))}.0/24`],
      addresses: { pool: traits.pool ?? "p1", count: traits.count ?? 1 },
      shard: { size: traits.size ?? 8 },
      ports: { perSlot: traits.perSlot ?? 1024, holdDownSeconds },
      allocation: DEFAULT_ALLOCATION,
      log: "None",
      ...DECLARED_DEFAULTS,
    },
  };
}

export interface FloatTraits {
  readonly cell?: string;
  readonly pool?: string;
  readonly address?: string;
  readonly age?: number;
}

export function float(name: string, inside: string, traits: FloatTraits = {}): FloatingAddress {
  const { address } = traits;
  return {
    apiVersion: API_VERSION,
    kind: "FloatingAddress",
    metadata: metadata(name, "t", traits.age),
    spec: {
      cell: traits.cell ?? "c1",
      pool: traits.pool ?? "p1",
      ...(address === undefined ? {} : { address }),
      inside,
    },
  };
}

export interface ForwardTraits {
  readonly port: number;
  readonly lastPort?: number;
  /** `address:port` */
  readonly inside: string;
  readonly protocol?: "tcp" | "udp";
  /** Gateway `g1` unless this or a pool is given. */
  readonly gateway?: string;
  readonly pool?: string;
  readonly address?: string;
  readonly namespace?: string;
  readonly age?: number;
}

export function forward(name: string, traits: ForwardTraits): PortForward {
  const { port, lastPort, pool: from, address } = traits;
  const [inside = "", insidePort] = traits.inside.split(":");
  return {
    apiVersion: API_VERSION,
    kind: "PortForward",
    metadata: metadata(name, traits.namespace ?? "t", traits.age),
    spec: {
      cell: "c1",
      protocol: traits.protocol ?? "tcp",
      public: {
        ...(from === undefined ? { gateway: traits.gateway ?? "g1" } : { pool: from }),
        ...(address === undefined ? {} : { address }),
      },
      port,
      ...(lastPort === undefined ? {} : { lastPort }),
      inside: { address: inside, port: Number(insidePort) },
    },
  };
}

/** A cloud of one cell and one pool, all of whose nodes are alive. */
export function cloud(parts: Partial<PlanInput>): PlanInput {
  const nodes = parts.nodes ?? [];
  return {
    cells: [cell("c1")],
    pools: [pool("p1", ["203.0.113.0/24"])],
    gateways: [],
    floats: [],
    forwards: [],
    placements: [],
    members: allAlive(nodes),
    ...parts,
    nodes,
  };
}

export function allAlive(nodes: readonly GatewayNode[]): Map<string, MemberState> {
  return new Map(nodes.map((n) => [n.metadata.name, "alive"]));
}

/** What the planner sees next, once the store has taken its placements (written and read again, so no object is the same). */
export function publish(input: PlanInput, planned: Plan): PlanInput {
  const placements = [...planned.placements].map(([key, spec]): Placement => {
    const [namespace = "", name = ""] = key.split("/");
    const copy = structuredClone(spec);
    return { apiVersion: API_VERSION, kind: "Placement", metadata: metadata(name, namespace), spec: copy };
  });
  const remembered = <S extends FloatingAddress | PortForward>(object: S, statuses: Plan["floats"]): S => {
    const found = statuses.get(keyOfObject(object));
    const conditions = (found?.conditions ?? []).map((c): Condition => ({ ...c, lastTransitionTime: "" }));
    const address = found?.address === undefined ? {} : { address: found.address };
    return { ...object, status: { observedGeneration: 1, ...address, conditions } };
  };
  const floats = input.floats.map((object) => remembered(object, planned.floats));
  const forwards = input.forwards.map((object) => remembered(object, planned.forwards));
  return { ...input, placements, floats, forwards };
}

/** `address/slot` → the name of its owner or backup; slots that have none are left out. */
export function slotTable(spec: PlacementSpec | undefined, row: "owners" | "backups"): Map<string, string> {
  const table = new Map<string, string>();
  for (const placed of spec?.addresses ?? []) {
    placed[row].forEach((n, slot) => {
      if (n !== NOBODY) table.set(`${placed.address}/${slot}`, spec!.nodes[n]!);
    });
  }
  return table;
}

/** Name → how many entries of the table have it. */
export function tally(table: ReadonlyMap<string, string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of table.values()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
