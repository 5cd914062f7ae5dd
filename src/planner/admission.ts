/**
 * Admission: which objects can be planned. One that contradicts another, or names what does not exist, is set aside with a reason, and
 * everything else is planned as if it were not there.
 */
import type { AddressPool } from "../model/address-pool.ts";
import type { Cell } from "../model/cell.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import { type Claims, makeClaims } from "./claims.ts";
import { byAge, byPrecedence, keyOfObject } from "./order.ts";

/** Why an object was set aside. */
export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

/**
 * - `accepted`: planned.
 * - `kept`: what it refers to is missing or broken, but it is in operation: it keeps what it has.
 * - `rejected`: treated as if it were not there.
 */
export type Admission =
  | { readonly verdict: "accepted" }
  | ({ readonly verdict: "kept" | "rejected" } & Rejection);

const ACCEPT: Admission = { verdict: "accepted" };

export interface Declared {
  readonly cells: readonly Cell[];
  readonly nodes: readonly GatewayNode[];
  readonly pools: readonly AddressPool[];
  readonly gateways: readonly NatGateway[];
}

export interface Admissions {
  readonly cells: ReadonlyMap<string, Cell>;
  /** Cell → its nodes, without those set aside. */
  readonly nodes: ReadonlyMap<string, readonly GatewayNode[]>;
  readonly rejectedNodes: ReadonlyMap<string, Rejection>;
  readonly acceptedPools: readonly AddressPool[];
  readonly rejectedPools: ReadonlyMap<string, Rejection>;
  /** All gateways, older ones first. */
  readonly gateways: readonly NatGateway[];
  readonly ofGateway: ReadonlyMap<string, Admission>;
}

/** `operatingCell` tells in which cell a gateway is in operation: that of its placement, if it has one. */
export function admit(
  declared: Declared,
  operatingCell: (gateway: string) => string | undefined,
): Admissions {
  const cells = new Map(declared.cells.map((cell) => [cell.metadata.name, cell]));
  const { acceptedPools, rejectedPools } = admitPools(declared.pools);
  const pools = new Map<string, Rejection | undefined>(
    acceptedPools.map((p) => [p.metadata.name, undefined]),
  );
  for (const [name, rejection] of rejectedPools) pools.set(name, rejection);
  return {
    cells,
    ...admitNodes(declared.nodes, cells),
    acceptedPools,
    rejectedPools,
    gateways: declared.gateways.toSorted(byAge),
    ofGateway: admitGateways(declared.gateways, cells, pools, operatingCell),
  };
}

function admitPools(pools: readonly AddressPool[]): Pick<Admissions, "acceptedPools" | "rejectedPools"> {
  const claims = makeClaims();
  const acceptedPools: AddressPool[] = [];
  const rejectedPools = new Map<string, Rejection>();
  for (const pool of pools.toSorted(byPrecedence)) {
    const { name } = pool.metadata;
    const clash = claims.claim(name, pool.spec.cidrs);
    if (clash) {
      rejectedPools.set(name, {
        reason: "PoolOverlap",
        message: `spec.cidrs: ${clash.wanted} overlaps ${clash.claimed} of AddressPool ${clash.claimant}; remove it from one of the two`,
      });
    } else acceptedPools.push(pool);
  }
  return { acceptedPools, rejectedPools };
}

function admitNodes(
  nodes: readonly GatewayNode[],
  cells: ReadonlyMap<string, Cell>,
): Pick<Admissions, "nodes" | "rejectedNodes"> {
  const byCell = new Map<string, GatewayNode[]>();
  const rejectedNodes = new Map<string, Rejection>();
  const holders = new Map<string, string>();
  for (const node of nodes.toSorted(byAge)) {
    const { name } = node.metadata;
    const { cell, address } = node.spec;
    const holder = holders.get(`${cell} ${address}`);
    if (!cells.has(cell)) {
      const message = `spec.cell: there is no Cell ${cell}; create it or correct the name`;
      rejectedNodes.set(name, { reason: "CellNotFound", message });
    } else if (holder !== undefined) {
      const message = `spec.address: ${address} is the address of GatewayNode ${holder} of the same cell; give each node its own`;
      rejectedNodes.set(name, { reason: "DuplicateAddress", message });
    } else {
      holders.set(`${cell} ${address}`, name);
      const siblings = byCell.get(cell);
      if (siblings) siblings.push(node);
      else byCell.set(cell, [node]);
    }
  }
  return { nodes: byCell, rejectedNodes };
}

function admitGateways(
  gateways: readonly NatGateway[],
  cells: ReadonlyMap<string, Cell>,
  pools: ReadonlyMap<string, Rejection | undefined>,
  operatingCell: (gateway: string) => string | undefined,
): ReadonlyMap<string, Admission> {
  const verdicts = new Map<string, Admission>();
  const claimsOfCell = new Map<string, Claims>();
  for (const gateway of gateways.toSorted(byPrecedence)) {
    const key = keyOfObject(gateway);
    const lacking = findLacking(gateway, cells, pools);
    const operating = operatingCell(key);
    if (lacking && operating === undefined) {
      verdicts.set(key, { verdict: "rejected", ...lacking });
      continue;
    }
    const cell = effectiveCell(gateway, cells, operating);
    const claims = claimsOfCell.get(cell) ?? makeClaims();
    claimsOfCell.set(cell, claims);
    const clash = claims.claim(key, gateway.spec.sources);
    if (clash) {
      const message = `spec.sources: ${clash.wanted} overlaps ${clash.claimed} of NatGateway ${clash.claimant} in cell ${cell}; remove it from one of the two`;
      verdicts.set(key, { verdict: "rejected", reason: "SourceOverlap", message });
    } else verdicts.set(key, lacking ? { verdict: "kept", ...lacking } : ACCEPT);
  }
  return verdicts;
}

/** The cell in which a gateway is planned: the one it names or, if there is no such cell, the one in which it is in operation. */
export function effectiveCell(
  gateway: NatGateway,
  cells: ReadonlyMap<string, Cell>,
  operating: string | undefined,
): string {
  const { cell } = gateway.spec;
  return cells.has(cell) ? cell : (operating ?? cell);
}

/** What the gateway refers to and cannot have. */
function findLacking(
  gateway: NatGateway,
  cells: ReadonlyMap<string, Cell>,
  pools: ReadonlyMap<string, Rejection | undefined>,
): Rejection | undefined {
  const { cell, addresses } = gateway.spec;
  if (!cells.has(cell)) {
    const message = `spec.cell: there is no Cell ${cell}; create it or correct the name`;
    return { reason: "CellNotFound", message };
  }
  if (!pools.has(addresses.pool)) {
    const message = `spec.addresses.pool: there is no AddressPool ${addresses.pool}; create it or correct the name`;
    return { reason: "PoolNotFound", message };
  }
  const broken = pools.get(addresses.pool);
  if (!broken) return undefined;
  const message = `spec.addresses.pool: AddressPool ${addresses.pool} is not accepted (${broken.message})`;
  return { reason: "PoolNotAccepted", message };
}
