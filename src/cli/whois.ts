/**
 * Who holds an address: from a public address and port to gateway, slot, owner and endpoints, and from an endpoint to its public
 * address and ports. Pure: the answers follow from the slot functions and the placements alone, as they do on every node.
 */
import { NattoError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
import { DEFAULT_ALLOCATION, endpointOfPort, outboundPorts, type Pool } from "../model/allocation.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import {
  address as addressNumber,
  type Cidr,
  cidr,
  cidrContains,
  cidrSize,
  formatAddress,
  parseAddress,
} from "../model/ipv4.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { PlacedAddress, Placement } from "../model/placement.ts";
import type { PortForward } from "../model/port-forward.ts";
import {
  FABRIC_NETWORK,
  FIRST_PORT,
  inboundSlot,
  LAST_PORT,
  type PortRange,
  slotPorts,
} from "../model/slots.ts";
import { formatRange, mergedPorts, nodeName, slotsByOwner } from "./owned-slots.ts";
import { type StaticAnswer, whoisStatic } from "./whois-static.ts";

/** At most so many addresses of a gateway's sources are tried to find the endpoints of a slot. */
export const MAX_ENDPOINTS_TRIED = 1 << 20;
/** At most so many endpoints are listed; the others are counted. */
export const MAX_ENDPOINTS_LISTED = 16;

export type Protocol = "tcp" | "udp" | "icmp";

export interface WhoisQuestion {
  /** As a number, as in `model/ipv4.ts`. */
  readonly address: number;
  /** A TCP or UDP port, or an ICMP identifier; undefined: the whole address. */
  readonly port: number | undefined;
  /** Undefined: of forwards, those of all protocols are meant. */
  readonly protocol?: Protocol | undefined;
}

/** What is declared and planned now. */
export interface Plans {
  readonly gateways: readonly NatGateway[];
  readonly placements: readonly Placement[];
  readonly pools: readonly AddressPool[];
  readonly floats: readonly FloatingAddress[];
  readonly forwards: readonly PortForward[];
}

export interface SlotAnswer {
  readonly gateway: string;
  readonly cell: string;
  readonly publicAddress: string;
  readonly slot: number;
  readonly ports: string;
  /** A node, or `NOBODY_TEXT`: then its packets are dropped. */
  readonly owner: string;
  readonly nextInLine: string;
}

export interface Endpoints {
  /** How many addresses of the sources may have the port, of those that were tried. */
  readonly count: number;
  /** The first of them, in the order of the sources. */
  readonly first: readonly string[];
  readonly tried: number;
  /** How many addresses the sources have. */
  readonly total: number;
}

export interface OwnersAnswer {
  readonly gateway: string;
  readonly cell: string;
  readonly publicAddress: string;
  /** Owner → its ports of this address. */
  readonly owners: Readonly<Record<string, readonly string[]>>;
}

export type WhoisAnswer =
  | ({ readonly question: "static" } & StaticAnswer)
  | ({ readonly question: "port"; readonly port: number; readonly endpoints: Endpoints } & SlotAnswer)
  | ({ readonly question: "public-address" } & OwnersAnswer)
  | ({ readonly question: "endpoint"; readonly endpoint: string; readonly source: string } & SlotAnswer)
  /** An endpoint whose flows go over all slots of its public address. */
  | ({
      readonly question: "spread-endpoint";
      readonly endpoint: string;
      readonly source: string;
    } & OwnersAnswer);

/** Reads `ADDRESS` or `ADDRESS:PORT`. Throws `BadRequest`. */
export function parseQuestion(text: string): WhoisQuestion {
  const [addressText = "", portText, ...rest] = text.split(":");
  const address = parseAddress(addressText);
  const port = portText === undefined ? undefined : Number(portText);
  const portFits = port === undefined || (/^\d{1,5}$/.test(portText ?? "") && port <= LAST_PORT);
  if (address !== undefined && portFits && rest.length === 0) return { address, port };
  throw new NattoError(
    "BadRequest",
    `"${text}" is neither an address nor an address with a port; write it like 203.0.113.10:2345 or 10.0.0.5`,
  );
}

/**
 * Answers the question: one answer for a public address; for an endpoint one for each cell that serves it, since cells are
 * independent. Throws `NotFound` with what the address is instead.
 */
export function whois(question: WhoisQuestion, plans: Plans): WhoisAnswer[] {
  const { address, port } = question;
  const text = formatAddress(address);
  const statics = whoisStatic(question, plans).map((answer) => ({ question: "static" as const, ...answer }));
  // A floating address is its host's alone, and so is a port that is forwarded.
  if (statics.some(({ kind }) => kind === "FloatingAddress")) return statics;
  if (statics.length > 0 && port !== undefined) return statics;
  const answers = whoisSlots(question, plans, text);
  if (answers.length + statics.length > 0) return [...statics, ...answers];
  throw notHeld(address, plans);
}

function whoisSlots({ address, port }: WhoisQuestion, plans: Plans, text: string): WhoisAnswer[] {
  for (const placement of plans.placements) {
    const index = placement.spec.addresses.findIndex((placed) => placed.address === text);
    if (index < 0) continue;
    const placed = placement.spec.addresses[index]!;
    if (port === undefined) return [{ question: "public-address", ...ownersAnswer(placement, placed) }];
    return [whoisPort(placement, index, port, plans.gateways)];
  }
  return whoisEndpoint(address, plans);
}

function whoisPort(
  placement: Placement,
  addressIndex: number,
  port: number,
  gateways: readonly NatGateway[],
): WhoisAnswer {
  const slot = inboundSlot(port, placement.spec.portsPerSlot);
  if (slot === undefined) {
    const { address } = placement.spec.addresses[addressIndex]!;
    throw new NattoError(
      "NotFound",
      `port ${port} of ${address} is never used: gateways translate to the ports ${FIRST_PORT} to ${LAST_PORT}`,
    );
  }
  const gateway = gateways.find((candidate) => sameName(candidate, placement));
  return {
    question: "port",
    port,
    ...slotAnswer(placement, addressIndex, slot),
    endpoints: endpointsOf(poolOf(placement, gateway), addressIndex, slot, port),
  };
}

/** What the choice of ports depends on. A placement whose gateway is gone serves nobody. */
function poolOf({ spec }: Placement, gateway: NatGateway | undefined): Pool {
  return {
    addresses: spec.addresses.map(({ address }) => addressNumber(address)),
    portsPerSlot: spec.portsPerSlot,
    allocation: gateway?.spec.allocation ?? DEFAULT_ALLOCATION,
    sources: (gateway?.spec.sources ?? []).map(cidr),
  };
}

function ownersAnswer(placement: Placement, placed: PlacedAddress): OwnersAnswer {
  return {
    gateway: gatewayName(placement),
    cell: placement.spec.cell,
    publicAddress: placed.address,
    owners: Object.fromEntries(
      slotsByOwner(placement, placed).map(({ owner, slots }) => [
        owner,
        mergedPorts(slots, placement.spec.portsPerSlot).map(formatRange),
      ]),
    ),
  };
}

/** The answers for an inside address: of the gateway that serves it in each cell, longest prefix first, as on the nodes. */
function whoisEndpoint(endpoint: number, { gateways, placements }: Plans): WhoisAnswer[] {
  const byCell = new Map<string, Served>();
  for (const gateway of gateways) {
    const placement = placements.find((candidate) => sameName(gateway, candidate));
    if (!placement || placement.spec.addresses.length === 0) continue;
    for (const text of gateway.spec.sources) {
      const source = cidr(text);
      const { cell } = placement.spec;
      if (!cidrContains(source, endpoint) || (byCell.get(cell)?.source.bits ?? -1) >= source.bits) continue;
      byCell.set(cell, { gateway, placement, source, text });
    }
  }
  return [...byCell.values()].map((served) => endpointAnswer(endpoint, served));
}

interface Served {
  readonly gateway: NatGateway;
  readonly placement: Placement;
  readonly source: Cidr;
  readonly text: string;
}

function endpointAnswer(address: number, { gateway, placement, text }: Served): WhoisAnswer {
  const pool = poolOf(placement, gateway);
  const endpoint = formatAddress(address);
  const chosen = outboundPorts(pool, FABRIC_NETWORK, { address, port: 0 });
  if (!chosen) {
    throw new NattoError(
      "NotFound",
      `${endpoint} has no ports: the gateway ${gatewayName(placement)} has only ${pool.addresses.length} of ${gateway.spec.addresses.count} public addresses, and the endpoint's block lies in a missing one`,
    );
  }
  if (isSpread(pool)) {
    const answer = ownersAnswer(placement, placement.spec.addresses[chosen.addressIndex]!);
    return { question: "spread-endpoint", endpoint, source: text, ...answer };
  }
  const { addressIndex, slot, ports } = chosen;
  return {
    question: "endpoint",
    endpoint,
    source: text,
    ...slotAnswer(placement, addressIndex, slot, ports),
  };
}

function isSpread({ allocation }: Pool): boolean {
  return allocation.method === "Hashed" && allocation.spread === "Flow";
}

/** The endpoints of the sources whose flows may have this port: those that the slot function leads to its slot, or the one with its block. */
function endpointsOf(pool: Pool, addressIndex: number, slot: number, port: number): Endpoints {
  const total = pool.sources.reduce((sum, source) => sum + cidrSize(source), 0);
  if (pool.allocation.method === "Deterministic") {
    const holder = endpointOfPort(pool, pool.allocation, addressIndex, port);
    const first = holder === undefined ? [] : [formatAddress(holder)];
    return { count: first.length, first, tried: total, total };
  }
  const anySlot = isSpread(pool);
  const first: string[] = [];
  let count = 0;
  let tried = 0;
  for (const source of pool.sources) {
    for (let i = 0; i < cidrSize(source) && tried < MAX_ENDPOINTS_TRIED; i++, tried++) {
      const endpoint = source.first + i;
      const found = outboundPorts(pool, FABRIC_NETWORK, { address: endpoint, port: 0 });
      if (found?.addressIndex !== addressIndex || (found.slot !== slot && !anySlot)) continue;
      count += 1;
      if (first.length < MAX_ENDPOINTS_LISTED) first.push(formatAddress(endpoint));
    }
  }
  return { count, first, tried, total };
}

/** `ports` are those of the slot, or fewer that an endpoint has in it. */
function slotAnswer(placement: Placement, addressIndex: number, slot: number, ports?: PortRange): SlotAnswer {
  const { spec } = placement;
  const placed = spec.addresses[addressIndex]!;
  return {
    gateway: gatewayName(placement),
    cell: spec.cell,
    publicAddress: placed.address,
    slot,
    ports: formatRange(ports ?? slotPorts(slot, spec.portsPerSlot)),
    owner: nodeName(placement, placed.owners[slot]),
    nextInLine: nodeName(placement, placed.backups[slot]),
  };
}

/** Says what the address is, when no gateway holds or serves it. */
function notHeld(address: number, { gateways, pools }: Plans): NattoError {
  const text = formatAddress(address);
  const pool = pools.find(({ spec }) => spec.cidrs.some((block) => cidrContains(cidr(block), address)));
  if (pool) {
    return new NattoError(
      "NotFound",
      `${text} is a free address of the pool ${pool.metadata.name}: no gateway holds it`,
    );
  }
  const waiting = gateways.find(({ spec }) =>
    spec.sources.some((source) => cidrContains(cidr(source), address)),
  );
  if (waiting) {
    const { namespace, name } = waiting.metadata;
    return new NattoError(
      "NotFound",
      `${text} belongs to the sources of the gateway ${namespace}/${name}, which has no public address yet; natto describe gateway ${namespace}/${name} says why`,
    );
  }
  return new NattoError("NotFound", `${text} is in no address pool and in no gateway's sources`);
}

function gatewayName({ metadata }: Placement): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function sameName(gateway: NatGateway, placement: Placement): boolean {
  const { metadata } = placement;
  return gateway.metadata.namespace === metadata.namespace && gateway.metadata.name === metadata.name;
}
