/**
 * Rules that involve more than one object, checked before a write. Pure: objects in, faults out, so that the planner and the CLI can
 * apply the same rules. A gateway may name a cell or pool that does not exist (yet): objects may be applied in any order.
 */
import type { FieldError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
import type { Cell } from "../model/cell.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { address, type Cidr, cidr, cidrContains, cidrSize, cidrsOverlap } from "../model/ipv4.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { Placement } from "../model/placement.ts";
import type { PortForward } from "../model/port-forward.ts";
import { nodeRoutingFaults } from "../model/routing.ts";
import { nameOf } from "../model/validate.ts";
import { type Holders, holdingsOf } from "./static-admission.ts";

/** At most so many faults of one rule are listed; more would only hide the first. */
const MAX_FAULTS = 10;

/** A pool must overlap neither another pool nor itself, and must keep the addresses that gateways use. */
export function poolFaults(
  pool: AddressPool,
  pools: readonly AddressPool[],
  holders: Holders,
): readonly FieldError[] {
  const others = pools.filter((other) => other.metadata.name !== pool.metadata.name);
  const blocks = blocksOf(pool.spec.cidrs);
  const lost = holdingsOf(holders)
    .filter((held) => held.pool === pool.metadata.name)
    .filter((held) => !blocks.some((block) => cidrContains(block, address(held.address))))
    .slice(0, MAX_FAULTS)
    .map((held) => ({
      field: "spec.cidrs",
      message: `${held.address} is in use by ${held.holder} and would no longer be in the pool`,
      remedy: "keep its block, or move or delete its holder first",
    }));
  return [
    ...overlapsWithin("spec.cidrs", pool.spec.cidrs),
    ...overlapsBetween(
      "spec.cidrs",
      pool.spec.cidrs,
      others.map((other) => ({ name: nameOf(other), cidrs: other.spec.cidrs })),
      "an address belongs to one pool only: remove it from one of them",
    ),
    ...lost,
  ];
}

/** A pool may go when nobody holds an address of it. */
export function poolDeletionFaults(pool: AddressPool, holders: Holders): readonly FieldError[] {
  const held = holdingsOf(holders).filter((holding) => holding.pool === pool.metadata.name);
  return [...Map.groupBy(held, ({ holder }) => holder)].slice(0, MAX_FAULTS).map(([holder, holdings]) => ({
    field: "spec.cidrs",
    message: `${holdings.map((holding) => holding.address).join(", ")} in use by ${holder}`,
    remedy: "move or delete it first",
  }));
}

/**
 * No two gateways of a cell may serve the same inside address, and none may ask for more addresses than its pool has. `pool` is
 * the one that the gateway names, if it exists.
 */
export function gatewayFaults(
  gateway: NatGateway,
  gateways: readonly NatGateway[],
  pool: AddressPool | undefined,
  placements: readonly Placement[],
): readonly FieldError[] {
  const others = gateways.filter(
    (other) => other.spec.cell === gateway.spec.cell && qualifiedName(other) !== qualifiedName(gateway),
  );
  return [
    ...overlapsWithin("spec.sources", gateway.spec.sources),
    ...overlapsBetween(
      "spec.sources",
      gateway.spec.sources,
      others.map((other) => ({ name: nameOf(other), cidrs: other.spec.sources })),
      "an inside address is served by one gateway of a cell only: remove it from one of them",
    ),
    ...(pool ? demandFaults(gateway, pool, placements) : []),
  ];
}

function demandFaults(
  gateway: NatGateway,
  pool: AddressPool,
  placements: readonly Placement[],
): readonly FieldError[] {
  const total = blocksOf(pool.spec.cidrs).reduce((sum, block) => sum + cidrSize(block), 0);
  const { count } = gateway.spec.addresses;
  if (count <= total) return [];
  const used = placements
    .filter((placement) => placement.spec.pool === pool.metadata.name)
    .filter((placement) => qualifiedName(placement) !== qualifiedName(gateway))
    .reduce((sum, placement) => sum + placement.spec.addresses.length, 0);
  return [
    {
      field: "spec.addresses.count",
      message: `asks for ${count} addresses, but ${nameOf(pool)} has ${total} in total, of which ${Math.max(0, total - used)} are free`,
      remedy: `ask for at most ${total}, or add blocks to the pool`,
    },
  ];
}

/** Two nodes of a cell cannot be reached at the same address, and what a node changes about its cell's routing must be whole. `cell` is its cell, if it exists. */
export function nodeFaults(
  node: GatewayNode,
  nodes: readonly GatewayNode[],
  cell: Cell | undefined,
): readonly FieldError[] {
  const routing = cell ? nodeRoutingFaults(cell.spec.routing, node.spec.routing) : [];
  return [...addressFaults(node, nodes), ...routing];
}

function addressFaults(node: GatewayNode, nodes: readonly GatewayNode[]): readonly FieldError[] {
  return nodes
    .filter((other) => other.metadata.name !== node.metadata.name)
    .filter((other) => other.spec.cell === node.spec.cell && other.spec.address === node.spec.address)
    .slice(0, MAX_FAULTS)
    .map((other) => ({
      field: "spec.address",
      message: `${node.spec.address} is already the address of ${nameOf(other)} in Cell ${node.spec.cell}`,
      remedy: "give each node its own address, or delete the node that is no longer there",
    }));
}

/** A cell may go when nothing refers to it. */
export function cellDeletionFaults(
  cell: Cell,
  referring: readonly (GatewayNode | NatGateway | FloatingAddress | PortForward)[],
): readonly FieldError[] {
  return referring
    .filter((object) => object.spec.cell === cell.metadata.name)
    .slice(0, MAX_FAULTS)
    .map((object) => ({
      field: "metadata.name",
      message: `${nameOf(object)} refers to it`,
      remedy: `delete that ${object.kind} first, or give it another spec.cell`,
    }));
}

function overlapsWithin(field: string, cidrs: readonly string[]): readonly FieldError[] {
  const blocks = blocksOf(cidrs);
  const faults: FieldError[] = [];
  for (const [i, block] of blocks.entries()) {
    const j = blocks.findIndex((earlier, at) => at < i && cidrsOverlap(earlier, block));
    if (j < 0 || faults.length >= MAX_FAULTS) continue;
    faults.push({
      field: `${field}[${i}]`,
      message: `${cidrs[i]} overlaps ${field}[${j}] (${cidrs[j]})`,
      remedy: "remove one of them, or narrow them",
    });
  }
  return faults;
}

interface Holder {
  readonly name: string;
  readonly cidrs: readonly string[];
}

function overlapsBetween(
  field: string,
  cidrs: readonly string[],
  holders: readonly Holder[],
  remedy: string,
): readonly FieldError[] {
  const blocks = blocksOf(cidrs);
  const faults: FieldError[] = [];
  for (const holder of holders) {
    const theirs = blocksOf(holder.cidrs);
    for (const [i, block] of blocks.entries()) {
      const j = theirs.findIndex((other) => cidrsOverlap(other, block));
      if (j < 0) continue;
      faults.push({
        field: `${field}[${i}]`,
        message: `${cidrs[i]} overlaps ${holder.cidrs[j]} of ${holder.name}`,
        remedy,
      });
      if (faults.length >= MAX_FAULTS) return faults;
    }
  }
  return faults;
}

/** Blocks already parsed, by the list that they were written in; lists of stored objects never change. */
const parsedBlocks = new WeakMap<readonly string[], readonly Cidr[]>();

function blocksOf(cidrs: readonly string[]): readonly Cidr[] {
  const known = parsedBlocks.get(cidrs);
  if (known) return known;
  const blocks = cidrs.map(cidr);
  parsedBlocks.set(cidrs, blocks);
  return blocks;
}

function qualifiedName({ metadata }: NatGateway | Placement): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}
