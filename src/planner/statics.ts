/**
 * Static mappings: which floating addresses and port forwards the nodes of a cell are told, and what is said about each. Who was accepted
 * before comes first; one that contradicts another is set aside with a reason.
 */
import type { Cell } from "../model/cell.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import { address } from "../model/ipv4.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { PlacedAddress } from "../model/placement.ts";
import { formatPorts, type PortForward, portCount } from "../model/port-forward.ts";
import {
  type FloatingConfig,
  type ForwardConfig,
  forwardedPorts,
  MAX_MAPPINGS_PER_CELL,
  STATIC_READY,
} from "../model/static-mappings.ts";
import type { AddressRequest, Allocation } from "./addresses.ts";
import type { Admissions, Rejection } from "./admission.ts";
import { ACCEPTED, byPrecedence, keyOfObject, type Verdict } from "./order.ts";

export interface DeclaredStatics {
  readonly floats: readonly FloatingAddress[];
  readonly forwards: readonly PortForward[];
}

export interface StaticStatus {
  readonly observedGeneration: number;
  readonly address: string | undefined;
  readonly conditions: readonly Verdict[];
}

/** What a cell's nodes are told. */
export interface CellStatics {
  readonly floatingAddresses: readonly FloatingConfig[];
  readonly portForwards: readonly ForwardConfig[];
}

export interface StaticPlan {
  /** By `namespace/name`. */
  readonly floats: ReadonlyMap<string, StaticStatus>;
  readonly forwards: ReadonlyMap<string, StaticStatus>;
  /** Cell → what its nodes are told; no entry: nothing. */
  readonly ofCell: ReadonlyMap<string, CellStatics>;
}

type Static = FloatingAddress | PortForward;

/** The requests for public addresses: one for each floating address, one for each address of a pool that forwards of a namespace share. */
export function requestStatics(
  { floats, forwards }: DeclaredStatics,
  usable: ReadonlySet<string>,
): readonly AddressRequest[] {
  const requests = new Map<string, AddressRequest>();
  for (const object of [...floats.toSorted(byPrecedence), ...forwards.toSorted(byPrecedence)]) {
    const { pool, wanted } = demandOf(object);
    if (pool === undefined) continue;
    const key = requestKey(object);
    const held = object.status?.address;
    const before = requests.get(key)?.previous ?? [];
    const previous = before.length > 0 || held === undefined ? before : [placed(held)];
    const exact = wanted === undefined ? undefined : address(wanted);
    requests.set(key, { key, pool, count: 1, previous, frozen: !usable.has(pool), wanted: exact });
  }
  return [...requests.values()];
}

const placed = (text: string): PlacedAddress => ({ address: text, owners: [], backups: [] });

function demandOf(object: Static): {
  readonly pool: string | undefined;
  readonly wanted: string | undefined;
} {
  if (object.kind === "FloatingAddress") return { pool: object.spec.pool, wanted: object.spec.address };
  return { pool: object.spec.public.pool, wanted: object.spec.public.address };
}

function requestKey(object: Static): string {
  if (object.kind === "FloatingAddress") return `FloatingAddress ${keyOfObject(object)}`;
  const { pool, address: wanted } = object.spec.public;
  return `PortForward ${object.metadata.namespace} ${pool} ${wanted}`;
}

/** Plans all static mappings, once it is known which addresses there are. */
export function planStatics(
  declared: DeclaredStatics,
  admissions: Admissions,
  allocation: Allocation,
): StaticPlan {
  const world: World = { admissions, allocation, claims: new Map(), room: new Map(), ofCell: new Map() };
  return {
    floats: sayAll(declared.floats, (float) => placeFloat(float, world)),
    forwards: sayAll(declared.forwards, (forward) => placeForward(forward, world)),
    ofCell: world.ofCell,
  };
}

interface World {
  readonly admissions: Admissions;
  readonly allocation: Allocation;
  /** What only one object can have → the object that has it. */
  readonly claims: Map<string, string>;
  /** Cell → mappings that it has so far. */
  readonly room: Map<string, number>;
  readonly ofCell: Map<string, { floatingAddresses: FloatingConfig[]; portForwards: ForwardConfig[] }>;
}

/** The address that an object has, and what is wrong with it: it goes on with the address that it has, if it has one. */
interface Placed {
  readonly address?: string;
  readonly fault?: Rejection;
}

function sayAll<S extends Static>(
  objects: readonly S[],
  place: (object: S) => Placed,
): ReadonlyMap<string, StaticStatus> {
  return new Map(
    objects.toSorted(byPrecedence).map((object) => {
      const { address: found, fault } = place(object);
      const observedGeneration = object.metadata.generation;
      const say = (type: string, problem: Rejection | undefined, good: string): Verdict =>
        problem
          ? { type, status: "False", ...problem, observedGeneration }
          : { type, status: "True", reason: good, message: "", observedGeneration };
      const idle =
        found === undefined ? { reason: "NotAccepted", message: `see condition ${ACCEPTED}` } : undefined;
      const kept =
        fault && found !== undefined
          ? { ...fault, message: `${fault.message}. Until then it goes on with what it has` }
          : fault;
      const conditions = [say(ACCEPTED, kept, "Accepted"), say(STATIC_READY, idle, "Configured")];
      return [keyOfObject(object), { observedGeneration, address: found, conditions }];
    }),
  );
}

function placeFloat(float: FloatingAddress, world: World): Placed {
  const { cell, pool, address: wanted, inside } = float.spec;
  const lacking = findLacking(float, world.admissions);
  const found = world.allocation.grants.get(requestKey(float))?.addresses[0];
  if (found === undefined) return { fault: lacking ?? noAddress("spec", pool, wanted) };
  if (!world.admissions.cells.has(cell)) return { address: found, ...(lacking ? { fault: lacking } : {}) };
  const taken = claimAll(world, float, [`${cell} ${inside}`]);
  if (taken) {
    return {
      fault: {
        reason: "InsideTaken",
        message: `spec.inside: ${inside} has the floating address of ${taken} already; a host has one, remove one of the two`,
      },
    };
  }
  const full = takeRoom(world, cell, 1);
  if (full) return { fault: full };
  const { namespace = "", name } = float.metadata;
  told(world, cell).floatingAddresses.push({ namespace, name, address: found, inside });
  return { address: found, ...(lacking ? { fault: lacking } : {}) };
}

function placeForward(forward: PortForward, world: World): Placed {
  const { cell, protocol, port, inside } = forward.spec;
  const lacking = findLacking(forward, world.admissions);
  const found = addressOfForward(forward, world);
  if (typeof found !== "string") return { fault: lacking ?? found };
  if (!world.admissions.cells.has(cell)) return { address: found, ...(lacking ? { fault: lacking } : {}) };
  const count = portCount(forward.spec);
  const { namespace = "", name } = forward.metadata;
  const config = {
    namespace,
    name,
    protocol,
    address: found,
    port,
    count,
    inside: inside.address,
    insidePort: inside.port,
  };
  const clash = claimPorts(world, forward, config) ?? takeRoom(world, cell, count);
  if (clash) return { fault: clash };
  told(world, cell).portForwards.push(config);
  return { address: found, ...(lacking ? { fault: lacking } : {}) };
}

/** Both ends of a forward are its own: a reply can leave by one public port only. */
function claimPorts(world: World, forward: PortForward, config: ForwardConfig): Rejection | undefined {
  const { protocol, address: outside, port, inside, insidePort, count } = config;
  const ends = forwardedPorts(config);
  const publicly = ends.map((end) => `${protocol} ${outside}:${end.publicPort}`);
  const privately = ends.map((end) => `${forward.spec.cell} ${protocol} ${inside}:${end.insidePort}`);
  const other = claimAll(world, forward, [...publicly, ...privately]);
  if (!other) return undefined;
  const isPublic = publicly.some((claim) => world.claims.get(claim) === other);
  const [field, ends_] = isPublic
    ? ["spec.port", `${protocol} ${outside}:${formatPorts(port, count)}`]
    : ["spec.inside", `${protocol} ${inside}:${formatPorts(insidePort, count)}`];
  const message = `${field}: ${ends_} overlaps ${other}; choose other ports, or remove one of the two`;
  return { reason: isPublic ? "PortTaken" : "TargetTaken", message };
}

function addressOfForward(forward: PortForward, world: World): string | Rejection {
  const { gateway, pool, address: wanted } = forward.spec.public;
  if (pool !== undefined) {
    return (
      world.allocation.grants.get(requestKey(forward))?.addresses[0] ?? noAddress("spec.public", pool, wanted)
    );
  }
  const key = `${forward.metadata.namespace}/${gateway}`;
  const has = world.allocation.grants.get(key)?.addresses ?? [];
  const before = forward.status?.address;
  const found = wanted ?? (before !== undefined && has.includes(before) ? before : has[0]);
  if (found !== undefined && has.includes(found)) return found;
  const message = `spec.public.address: ${wanted ?? "none"} is none of the addresses of NatGateway ${key} (${has.join(", ") || "it has none yet"}); name one of them, or leave it out`;
  return { reason: "AddressNotOfGateway", message };
}

function noAddress(at: string, pool: string, wanted: string | undefined): Rejection {
  if (wanted === undefined) {
    const message = `${at}.pool: all addresses of AddressPool ${pool} are taken; add a block to the pool, or name another`;
    return { reason: "PoolExhausted", message };
  }
  const message = `${at}.address: ${wanted} is not free in AddressPool ${pool}; choose another, or leave it out to get a free one`;
  return { reason: "AddressTaken", message };
}

/** What the object refers to and cannot have. */
function findLacking(
  object: Static,
  { cells, acceptedPools, rejectedPools, gateways }: Admissions,
): Rejection | undefined {
  const { cell } = object.spec;
  const { pool } = demandOf(object);
  if (!cells.has(cell)) {
    return {
      reason: "CellNotFound",
      message: `spec.cell: there is no Cell ${cell}; create it or correct the name`,
    };
  }
  const at = object.kind === "FloatingAddress" ? "spec" : "spec.public";
  if (pool !== undefined && !acceptedPools.some(({ metadata }) => metadata.name === pool)) {
    const broken = rejectedPools.get(pool);
    return broken
      ? {
          reason: "PoolNotAccepted",
          message: `${at}.pool: AddressPool ${pool} is not accepted (${broken.message})`,
        }
      : {
          reason: "PoolNotFound",
          message: `${at}.pool: there is no AddressPool ${pool}; create it or correct the name`,
        };
  }
  if (object.kind === "FloatingAddress" || object.spec.public.gateway === undefined) return undefined;
  return findGateway(object, object.spec.public.gateway, gateways, cells);
}

function findGateway(
  { metadata, spec }: PortForward,
  name: string,
  gateways: readonly NatGateway[],
  cells: ReadonlyMap<string, Cell>,
): Rejection | undefined {
  const key = `${metadata.namespace}/${name}`;
  const gateway = gateways.find((candidate) => keyOfObject(candidate) === key);
  if (!gateway) {
    return {
      reason: "GatewayNotFound",
      message: `spec.public.gateway: there is no NatGateway ${key}; create it or correct the name`,
    };
  }
  if (gateway.spec.cell === spec.cell || !cells.has(gateway.spec.cell)) return undefined;
  return {
    reason: "CellMismatch",
    message: `spec.cell: NatGateway ${key} is in Cell ${gateway.spec.cell}, not ${spec.cell}; write that one`,
  };
}

/** Claims everything for an object, or nothing; returns who has something of it. */
function claimAll({ claims }: World, object: Static, wanted: readonly string[]): string | undefined {
  const holder = wanted.map((claim) => claims.get(claim)).find((other) => other !== undefined);
  if (holder !== undefined) return holder;
  for (const claim of wanted) claims.set(claim, `${object.kind} ${keyOfObject(object)}`);
  return undefined;
}

function takeRoom({ room }: World, cell: string, count: number): Rejection | undefined {
  const used = (room.get(cell) ?? 0) + count;
  if (used > MAX_MAPPINGS_PER_CELL) {
    const message = `spec.cell: Cell ${cell} has no room for ${count} more static mappings; at most ${MAX_MAPPINGS_PER_CELL} are allowed, use another cell`;
    return { reason: "CellFull", message };
  }
  room.set(cell, used);
  return undefined;
}

function told({ ofCell }: World, cell: string) {
  const known = ofCell.get(cell) ?? { floatingAddresses: [], portForwards: [] };
  ofCell.set(cell, known);
  return known;
}
