/**
 * Fragmented datagrams (docs/dataplane.md, "Fragments"; RFC 4787 REQ-14). Only the first fragment has ports: what became of it is noted for
 * the others, until all of them have passed or the time is up.
 */
import { FABRIC_NETWORK, mix32 } from "../../model/slots.ts";
import { type Ipv4View, PROTOCOL } from "../packet.ts";
import { actingOwner, type Mark } from "./moves.ts";
import {
  type Direction,
  type DropCounter,
  gatewayOfSource,
  type ModelConfig,
  type Owner,
  placeOfSlot,
  type State,
  slotName,
  slotOfSource,
} from "./state.ts";

/** How long a datagram may take to pass, in milliseconds. */
export const FRAGMENT_LIFETIME_MS = 15_000;
export const MAX_DATAGRAMS = 4096;
/** Senders whose addresses have the same hash, modulo this, share a part of the table. */
const SHARES = 1024;
/** How many datagrams the senders of one share may have on their way. */
export const SHARE_OF_DATAGRAMS = 256;
const UNIT_BYTES = 8;
const MOST_BYTES = 65_535;

/** What became of the first fragment. */
export type Fate =
  | { readonly kind: "translated"; readonly address: number }
  | { readonly kind: "sent-on"; readonly node: number; readonly mark: Mark };

/** A datagram whose first fragment has passed. */
export interface Datagram {
  readonly source: number;
  /** Milliseconds. */
  readonly deadline: number;
  readonly fate: Fate;
  /** What has passed, from and to (exclusive), in units of 8 bytes. */
  readonly passed: readonly Span[];
  /** Of the whole datagram; undefined while its last fragment has not passed. */
  readonly units: number | undefined;
}

type Span = readonly [from: number, to: number];

/** Names a datagram at a node: one that comes there again with another mark is another one, so that its fragments go the same way. */
export function datagramKey(ip: Ipv4View, direction: Direction, mark: Mark): string {
  return `${direction} ${mark} ${FABRIC_NETWORK}/${ip.protocol} ${ip.source}>${ip.destination} ${ip.identification}`;
}

function spanOf(ip: Ipv4View): Span {
  return [ip.fragmentOffset, ip.fragmentOffset + Math.ceil(ip.payloadBytes / UNIT_BYTES)];
}

/** Whether a fragment can be a part of an IPv4 datagram, and leaves the transport header to the first one (RFC 1858, section 3). */
export function isGoodPart(ip: Ipv4View): boolean {
  const from = ip.fragmentOffset * UNIT_BYTES;
  if (ip.payloadBytes === 0 || from + ip.payloadBytes > MOST_BYTES) return false;
  if (ip.moreFragments && ip.payloadBytes % UNIT_BYTES !== 0) return false;
  return !(ip.protocol === PROTOCOL.tcp && ip.laterFragment && from < 20);
}

/** Why a fragment of a gateway cannot pass, whatever its datagram is. */
export function faultOfPart(ip: Ipv4View): DropCounter | undefined {
  const { tcp, udp, icmp } = PROTOCOL;
  if (ip.protocol !== tcp && ip.protocol !== udp && ip.protocol !== icmp) return "drop_unsupported";
  return isGoodPart(ip) ? undefined : "drop_fragment";
}

/**
 * The node at which all fragments of a datagram meet that came in by whatever node: it follows from what they have in common, which are no ports.
 * Outbound it is the owner of the endpoint's slot, unless the gateway spreads the endpoint's flows. An address without slots has no meeting: it
 * ends here.
 */
export function meetingNode(config: ModelConfig, ip: Ipv4View, direction: Direction): Owner {
  const nobody: Owner = { kind: "nobody" };
  if (direction === "outbound") {
    const gateway = gatewayOfSource(config, ip.source);
    const slot =
      gateway && slotOfSource(gateway, FABRIC_NETWORK, { address: ip.source, port: ip.identification });
    const place = slot && placeOfSlot(config, slot);
    return place ? actingOwner(config, place) : nobody;
  }
  const gateway = config.addresses.get(ip.destination);
  if (!gateway) return { kind: "self" };
  const { length } = gateway.places[gateway.addresses.indexOf(ip.destination)]!;
  const number = mix32((ip.source ^ ip.identification) >>> 0) % length;
  const place = placeOfSlot(config, slotName(gateway, ip.destination, number));
  return place ? actingOwner(config, place) : nobody;
}

/** The part of the tables that a sender shares with others. */
export const shareOf = (source: number): number => mix32(source) % SHARES;

/** Notes what became of a first fragment: its datagram begins anew. Undefined when there is no room. */
export function beginDatagram(
  state: State,
  ip: Ipv4View,
  direction: Direction,
  mark: Mark,
  fate: Fate,
  now: number,
): State | undefined {
  const { datagrams } = state;
  const key = datagramKey(ip, direction, mark);
  if (!datagrams.has(key)) {
    const share = shareOf(ip.source);
    const shared = [...datagrams.values()].filter(({ source }) => shareOf(source) === share);
    if (shared.length >= SHARE_OF_DATAGRAMS || datagrams.size >= MAX_DATAGRAMS) return undefined;
  }
  const datagram = {
    source: ip.source,
    deadline: now + FRAGMENT_LIFETIME_MS,
    fate,
    passed: [spanOf(ip)],
    units: undefined,
  };
  return { ...state, datagrams: new Map([...datagrams, [key, datagram]]) };
}

/** Notes that a later fragment passes; the whole datagram is forgotten. Undefined when a part of it has passed already. */
export function passPart(state: State, key: string, datagram: Datagram, ip: Ipv4View): State | undefined {
  const [from, to] = spanOf(ip);
  if (datagram.passed.some((span) => span[0] < to && from < span[1])) return undefined;
  const passed: readonly Span[] = [...datagram.passed, [from, to]];
  const units = ip.moreFragments ? datagram.units : to;
  const sum = passed.reduce((all, span) => all + span[1] - span[0], 0);
  const datagrams = new Map([...state.datagrams, [key, { ...datagram, passed, units }]]);
  if (units !== undefined && sum >= units) datagrams.delete(key);
  return { ...state, datagrams };
}

/** Forgets what has taken too long. */
export function sweepFragments(state: State, now: number): State {
  const datagrams = new Map([...state.datagrams].filter(([, { deadline }]) => deadline > now));
  return { ...state, datagrams };
}
