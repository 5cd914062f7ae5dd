/** What a change does to one gateway: which slots get another owner, which endpoints another public address or owner. Pure. */
import { outboundPorts } from "../model/allocation.ts";
import { cidrContains, cidrSize } from "../model/ipv4.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import { endpointAt, FABRIC_NETWORK } from "../model/slots.ts";
import type { PlacementSpec } from "./assignment.ts";
import { parseBlocks, parsePlaced } from "./parsed.ts";

/** So many endpoints of a gateway are looked at one by one; of more, so many in equal distances. */
const MAX_ENDPOINTS = 65_536;

/** A gateway as it is planned at one time. */
export interface PlannedGateway {
  readonly gateway: NatGateway;
  readonly placement: PlacementSpec;
}

/** Of a number of things that there were before, how many change. */
export interface Share {
  readonly affected: number;
  readonly total: number;
}

export interface SlotMove {
  readonly from: string;
  /** Undefined: nobody, or the slot is gone. */
  readonly to: string | undefined;
  readonly slots: number;
}

export interface GatewayImpact {
  /** `namespace/name` */
  readonly gateway: string;
  readonly cell: string;
  readonly change: "added" | "removed" | "changed";
  readonly moves: readonly SlotMove[];
  /** Slots whose owner changes or that are gone. */
  readonly slots: Share;
  readonly ports: Share;
  /** Inside addresses whose flows find another public address, port range or owner, or no gateway at all. */
  readonly endpoints: Share;
  /** Whether `endpoints.affected` was counted on a part of them only. */
  readonly estimated: boolean;
  /** The share of its flows that could break, in percent: the larger one of ports and endpoints. */
  readonly percent: number;
}

/** The impact on a gateway that is there before, after, or both; undefined when its slots and endpoints stay where they are. */
export function gatewayImpact(
  key: string,
  before: PlannedGateway | undefined,
  after: PlannedGateway | undefined,
): GatewayImpact | undefined {
  const known = before ?? after;
  if (!known) return undefined;
  const { cell } = known.placement;
  if (!before) {
    const none: Share = { affected: 0, total: 0 };
    const nothing = { moves: [], slots: none, ports: none, endpoints: none, estimated: false, percent: 0 };
    return { gateway: key, cell, change: "added", ...nothing };
  }
  const { moves, slots } = movesOf(before.placement, after?.placement);
  const { endpoints, estimated } = endpointsOf(before, after);
  if (after && slots.affected === 0 && endpoints.affected === 0) return undefined;
  const size = before.placement.portsPerSlot;
  const ports = { affected: slots.affected * size, total: slots.total * size };
  const percent = Math.max(percentOf(ports), percentOf(endpoints));
  const change = after ? "changed" : "removed";
  return { gateway: key, cell, change, moves, slots, ports, endpoints, estimated, percent };
}

export function percentOf({ affected, total }: Share): number {
  return total === 0 ? 0 : (100 * affected) / total;
}

function movesOf(
  before: PlacementSpec,
  after: PlacementSpec | undefined,
): { readonly moves: readonly SlotMove[]; readonly slots: Share } {
  const recut = after?.portsPerSlot !== before.portsPerSlot || after.cell !== before.cell;
  const remaining = new Map(recut ? [] : after.addresses.map((placed) => [placed.address, placed.owners]));
  const moves = new Map<string, SlotMove>();
  let affected = 0;
  let total = 0;
  for (const { address, owners } of before.addresses) {
    const now = remaining.get(address);
    owners.forEach((owner, slot) => {
      const from = before.nodes[owner];
      if (from === undefined) return;
      total++;
      const to = now && after?.nodes[now[slot]!];
      if (from === to) return;
      affected++;
      const key = `${from} ${to ?? ""}`;
      moves.set(key, { from, to, slots: (moves.get(key)?.slots ?? 0) + 1 });
    });
  }
  return { moves: [...moves.values()], slots: { affected, total } };
}

function endpointsOf(
  before: PlannedGateway,
  after: PlannedGateway | undefined,
): { readonly endpoints: Share; readonly estimated: boolean } {
  const sources = parseBlocks(before.gateway.spec.sources);
  const total = sources.reduce((sum, block) => sum + cidrSize(block), 0);
  const step = Math.max(1, Math.ceil(total / MAX_ENDPOINTS));
  const homeBefore = homes(before);
  const homeAfter = after ? homes(after) : () => undefined;
  const kept = after ? parseBlocks(after.gateway.spec.sources) : [];
  let looked = 0;
  let affected = 0;
  for (let index = 0; index < total; index += step) {
    const endpoint = endpointAt(sources, index)!;
    const stays = kept.some((block) => cidrContains(block, endpoint));
    looked++;
    if (!stays || homeBefore(endpoint) !== homeAfter(endpoint)) affected++;
  }
  const scaled = step === 1 ? affected : Math.round((affected / looked) * total);
  return { endpoints: { affected: scaled, total }, estimated: step > 1 };
}

/** Where the flows of an endpoint belong: public address, ports and owner. Of flows that are spread, that of the first one. */
function homes({ gateway, placement }: PlannedGateway): (endpoint: number) => string | undefined {
  const { addresses, nodes, portsPerSlot } = placement;
  const { allocation, sources } = gateway.spec;
  const pool = {
    ...{ portsPerSlot, allocation },
    addresses: parsePlaced(addresses),
    sources: parseBlocks(sources),
  };
  if (addresses.length === 0) return () => undefined;
  return (address) => {
    const chosen = outboundPorts(pool, FABRIC_NETWORK, { address, port: 0 });
    if (!chosen) return undefined;
    const placed = addresses[chosen.addressIndex]!;
    return `${placed.address} ${chosen.ports.first}-${chosen.ports.last} ${nodes[placed.owners[chosen.slot]!]}`;
  };
}
