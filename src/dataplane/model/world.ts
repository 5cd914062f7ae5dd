/**
 * Small worlds for tests of the dataplane: a cell of nodes that share a few gateways, and the addresses of everybody around
 * them. A world is a plain value; each node's NodeConfig follows from it.
 */
import type { Allocation } from "../../model/allocation.ts";
import { address, formatAddress } from "../../model/ipv4.ts";
import type { NatBehaviour } from "../../model/nat-behaviour.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import type { SlotMove } from "../../model/placement.ts";
import type { SessionLogging } from "../../model/session-logging.ts";
import { FABRIC_NETWORK, inboundSlot, slotsPerAddress } from "../../model/slots.ts";
import { type StaticConfig, staticAddresses } from "../../model/static-mappings.ts";
import type { PortKey } from "./port-hash.ts";
import {
  gatewayOfSource,
  type ModelConfig,
  modelConfig,
  type Role,
  type SlotName,
  slotOfSource,
} from "./state.ts";
import type { Route, RouteLookup } from "./translate.ts";

/** Who is where. The worlds' addresses are taken from here, so that a test's real routing table can be laid out once. */
export const PLAN = {
  /** Node n has the address .(1 + n). Its own is local; the others are found on the fabric. */
  nodes: "10.255.0.0",
  /** Node addresses from .129 on have no neighbour yet. */
  silentNodes: "10.255.0.128",
  /** Endpoints that are found inside. */
  endpoints: "10.1.0.0",
  /** Endpoints whose neighbour is not known yet. */
  silentEndpoints: "10.2.0.0",
  /** Inside, but in no gateway's sources. */
  strangers: "10.9.0.0",
  publics: "203.0.113.0",
  /** Remotes that are found outside. */
  remotes: "198.51.100.0",
  /** Remotes whose neighbour is not known yet. */
  silentRemotes: "198.51.101.0",
  /** Remotes to which routes are prohibited. */
  prohibitedRemotes: "198.51.102.0",
} as const;

/** The key of every node of a world: the words of SipHash's own example. */
export const PORT_KEY: PortKey = [0x0706050403020100n, 0x0f0e0d0c0b0a0908n];
export const VXLAN_PORT = 4789;
/** Largest IP packet on every interface. */
export const MTU = 1500;
export const INTERFACE = { inside: 11, outside: 12, fabric: 13 } as const;
export const MAC = {
  node: "02:00:00:00:00:0a",
  gateway: "02:00:00:00:00:0b",
} as const;

export interface WorldNode {
  readonly name: string;
  readonly address: number;
}

export interface WorldGateway {
  readonly id: string;
  readonly sources: readonly string[];
  readonly addresses: readonly number[];
  readonly portsPerSlot: number;
  readonly allocation: Allocation;
  readonly log?: SessionLogging;
  readonly behaviour: NatBehaviour;
  /** owners[address index][slot number] is an index into the world's nodes, or NOBODY. */
  readonly owners: readonly (readonly number[])[];
  /** moves[address index]: of slots that have moved; none unless given. */
  readonly moves?: readonly (readonly (WorldMove & { readonly slot: number })[])[];
}

/** `from` is an index into the world's nodes. */
export type WorldMove = Pick<SlotMove, "from" | "phase">;

export interface World {
  readonly nodes: readonly WorldNode[];
  readonly gateways: readonly WorldGateway[];
  /** Floating addresses and port forwards, as nodes are told. */
  readonly statics?: StaticConfig;
  /** Sessions and mappings that a node has room for. */
  readonly maxRecords: number;
  /** Enrolled inside addresses that send packets. */
  readonly endpoints: readonly number[];
  readonly remotes: readonly number[];
  /** Whether nodes have one interface for everything. */
  readonly oneInterface: boolean;
  /** Nodes that are dead in the eyes of the others; none unless given. */
  readonly dead?: readonly number[];
}

/** What the planner would publish for a node of the world. */
export function nodeConfigOf(
  world: World,
  nodeIndex: number,
  interfaces: { readonly inside: string; readonly outside: string } = {
    inside: "inside",
    outside: "outside",
  },
): NodeConfig["spec"] {
  const self = world.nodes[nodeIndex]!;
  return {
    cell: "test",
    node: { address: formatAddress(self.address), interfaces: { ...interfaces } },
    vxlan: { port: VXLAN_PORT },
    peers: world.nodes
      .filter((node) => node !== self)
      .map((node) => ({ name: node.name, address: formatAddress(node.address) })),
    floatingAddresses: [...(world.statics?.floatingAddresses ?? [])],
    portForwards: [...(world.statics?.portForwards ?? [])],
    gateways: world.gateways.map((gateway) => ({
      namespace: "default",
      name: gateway.id,
      uid: gateway.id,
      sources: [...gateway.sources],
      portsPerSlot: gateway.portsPerSlot,
      allocation: gateway.allocation,
      log: gateway.log ?? "None",
      behaviour: gateway.behaviour,
      nodes: world.nodes.map((node) => node.name),
      addresses: gateway.addresses.map((publicAddress, i) => ({
        address: formatAddress(publicAddress),
        owners: [...gateway.owners[i]!],
        backups: gateway.owners[i]!.map((owner) => (owner + 1) % world.nodes.length),
        moves: (gateway.moves?.[i] ?? []).map((move) => ({ ...move, since: "", until: "" })),
      })),
    })),
  };
}

/** All public addresses of the world. */
export function publicAddresses(world: World): readonly number[] {
  return [...world.gateways.flatMap((gateway) => gateway.addresses), ...staticAddresses(world.statics ?? {})];
}

/** The roles that a node's interfaces have in the world. */
export function rolesOf(world: World): readonly Role[] {
  return world.oneInterface ? ["both"] : ["inside", "outside"];
}

/** An address of the plan: the n-th behind one of its bases. */
export function planned(base: string, n: number): number {
  return address(base) + n;
}

/** The routes that the plan describes, as a node has them. */
export function plannedRoutes(self: WorldNode): RouteLookup {
  return (destination) => {
    if (destination === self.address) return { kind: "local" };
    switch (formatAddress((destination & 0xffffff00) >>> 0)) {
      case PLAN.nodes:
        return (destination & 0xff) > 128 ? { kind: "no-neighbour", mtu: MTU } : found(INTERFACE.fabric);
      case PLAN.endpoints:
        return found(INTERFACE.inside);
      case PLAN.remotes:
      case PLAN.publics:
        return found(INTERFACE.outside);
      case PLAN.silentEndpoints:
      case PLAN.silentRemotes:
        return { kind: "no-neighbour", mtu: MTU };
      default:
        return { kind: "none" };
    }
  };
}

function found(ifindex: number): Route {
  return { kind: "found", ifindex, sourceMac: MAC.node, destinationMac: MAC.gateway, mtu: MTU };
}

/** The configuration of a node of the world, as the model takes it. */
export function configOf(world: World, nodeIndex: number): ModelConfig {
  const dead = new Set(
    (world.dead ?? []).flatMap((n) => (n === nodeIndex ? [] : (world.nodes[n]?.address ?? []))),
  );
  const { name } = world.nodes[nodeIndex]!;
  return modelConfig(nodeConfigOf(world, nodeIndex), name, world.maxRecords, dead, PORT_KEY);
}

/** A source port that endpoints like. */
export const BUSY_PORT = 40_000;

/** The slots in which the world's endpoints have their flows (from `BUSY_PORT`, where they are spread): those whose moves matter. */
export function busySlots(world: World): readonly SlotName[] {
  const config = configOf(world, 0);
  return world.endpoints.flatMap((endpoint) => {
    const gateway = gatewayOfSource(config, endpoint);
    const source = { address: endpoint, port: BUSY_PORT };
    return (gateway && slotOfSource(gateway, FABRIC_NETWORK, source)) ?? [];
  });
}

/** Whose a public address and port is: an index into the world's nodes, NOBODY, or undefined for what is not a slot's. */
export function ownerOfPublic(world: World, publicAddress: number, port: number): number | undefined {
  const gateway = world.gateways.find((g) => g.addresses.includes(publicAddress));
  const slot = gateway && inboundSlot(port, gateway.portsPerSlot);
  if (!gateway || slot === undefined) return undefined;
  return gateway.owners[gateway.addresses.indexOf(publicAddress)]?.[slot];
}

/** The world in which a slot has another owner, and is in this move or in none. A slot that does not exist changes nothing. */
export function moveSlot(world: World, slot: SlotName, owner: number, move?: WorldMove): World {
  const gateways = world.gateways.map((gateway) => {
    const index = gateway.id === slot.gateway ? gateway.addresses.indexOf(slot.address) : -1;
    if (index < 0 || slot.number >= slotsPerAddress(gateway.portsPerSlot)) return gateway;
    const owners = gateway.owners.map((row, i) => (i === index ? row.with(slot.number, owner) : row));
    const moves = gateway.addresses.map((_, i) => {
      const row = gateway.moves?.[i] ?? [];
      const others = i === index ? row.filter((m) => m.slot !== slot.number) : row;
      return i === index && move ? [...others, { ...move, slot: slot.number }] : others;
    });
    return { ...gateway, owners, moves };
  });
  return { ...world, gateways };
}
