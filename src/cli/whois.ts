/**
 * Who holds an address: from a public address and port to gateway, slot, owner and endpoints, and from an endpoint to its public
 * address and ports. Pure: the answers follow from the slot functions and the placements alone, as they do on every node.
 */
import { NattoError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
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
import {
  FABRIC_NETWORK,
  FIRST_PORT,
  inboundSlot,
  LAST_PORT,
  outboundSlot,
  slotPorts,
} from "../model/slots.ts";
import { formatRange, mergedPorts, nodeName, slotsByOwner } from "./owned-slots.ts";

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
}

/** What is declared and planned now. */
export interface Plans {
  readonly gateways: readonly NatGateway[];
  readonly placements: readonly Placement[];
  readonly pools: readonly AddressPool[];
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
  /** How many addresses of the sources have this slot, of those that were tried. */
  readonly count: number;
  /** The first of them, in the order of the sources. */
  readonly first: readonly string[];
  readonly tried: number;
  /** How many addresses the sources have. */
  readonly total: number;
}

export type WhoisAnswer =
  | ({ readonly question: "port"; readonly port: number; readonly endpoints: Endpoints } & SlotAnswer)
  | {
      readonly question: "public-address";
      readonly gateway: string;
      readonly cell: string;
      readonly publicAddress: string;
      /** Owner → its ports of this address. */
      readonly owners: Readonly<Record<string, readonly string[]>>;
    }
  | ({ readonly question: "endpoint"; readonly endpoint: string; readonly source: string } & SlotAnswer);

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
  for (const placement of plans.placements) {
    const index = placement.spec.addresses.findIndex((placed) => placed.address === text);
    if (index < 0) continue;
    if (port === undefined) return [wholeAddress(placement, placement.spec.addresses[index]!)];
    return [whoisPort(placement, index, port, plans.gateways)];
  }
  const answers = whoisEndpoint(address, plans);
  if (answers.length > 0) return answers;
  throw notHeld(address, plans);
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
  const sources = (gateway?.spec.sources ?? []).map(cidr);
  return {
    question: "port",
    port,
    ...slotAnswer(placement, addressIndex, slot),
    endpoints: endpointsOf(sources, placement, addressIndex, slot),
  };
}

function wholeAddress(placement: Placement, placed: PlacedAddress): WhoisAnswer {
  return {
    question: "public-address",
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
  const byCell = new Map<
    string,
    { readonly placement: Placement; readonly source: Cidr; readonly text: string }
  >();
  for (const gateway of gateways) {
    const placement = placements.find((candidate) => sameName(gateway, candidate));
    if (!placement || placement.spec.addresses.length === 0) continue;
    for (const text of gateway.spec.sources) {
      const source = cidr(text);
      const { cell } = placement.spec;
      if (!cidrContains(source, endpoint) || (byCell.get(cell)?.source.bits ?? -1) >= source.bits) continue;
      byCell.set(cell, { placement, source, text });
    }
  }
  return [...byCell.values()].map(({ placement, text }) => {
    const { addressIndex, slot } = slotOf(endpoint, placement);
    const answer = slotAnswer(placement, addressIndex, slot);
    return { question: "endpoint", endpoint: formatAddress(endpoint), source: text, ...answer };
  });
}

function slotOf(endpoint: number, { spec }: Placement): { addressIndex: number; slot: number } {
  const addresses = spec.addresses.map(({ address }) => addressNumber(address));
  return outboundSlot(FABRIC_NETWORK, endpoint, addresses, spec.portsPerSlot);
}

/** The endpoints of the sources that the slot function leads to this slot. */
function endpointsOf(
  sources: readonly Cidr[],
  placement: Placement,
  addressIndex: number,
  slot: number,
): Endpoints {
  const addresses = placement.spec.addresses.map(({ address }) => addressNumber(address));
  const total = sources.reduce((sum, source) => sum + cidrSize(source), 0);
  const first: string[] = [];
  let count = 0;
  let tried = 0;
  for (const source of sources) {
    for (let i = 0; i < cidrSize(source) && tried < MAX_ENDPOINTS_TRIED; i++, tried++) {
      const endpoint = source.first + i;
      const found = outboundSlot(FABRIC_NETWORK, endpoint, addresses, placement.spec.portsPerSlot);
      if (found.slot !== slot || found.addressIndex !== addressIndex) continue;
      count += 1;
      if (first.length < MAX_ENDPOINTS_LISTED) first.push(formatAddress(endpoint));
    }
  }
  return { count, first, tried, total };
}

function slotAnswer(placement: Placement, addressIndex: number, slot: number): SlotAnswer {
  const { spec } = placement;
  const placed = spec.addresses[addressIndex]!;
  return {
    gateway: gatewayName(placement),
    cell: spec.cell,
    publicAddress: placed.address,
    slot,
    ports: formatRange(slotPorts(slot, spec.portsPerSlot)),
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
