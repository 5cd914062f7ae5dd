/** What a node announces: which prefixes, derived from its configuration, and in which steps one set gives way to another. Pure. */
import { isDeepStrictEqual } from "node:util";
import {
  address,
  type Cidr,
  cidr,
  cidrContains,
  cidrSize,
  cidrsOverlap,
  formatCidr,
  netmask,
} from "../model/ipv4.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { staticAddresses } from "../model/static-mappings.ts";

/** Prefixes in CIDR notation, sorted, by the side to which they are announced. */
export interface Announcements {
  /** Toward the endpoints and the other nodes. */
  readonly inside: readonly string[];
  readonly outside: readonly string[];
}

export const NOTHING: Announcements = { inside: [], outside: [] };

export function isNothing({ inside, outside }: Announcements): boolean {
  return inside.length === 0 && outside.length === 0;
}

export function sameAnnouncements(a: Announcements, b: Announcements): boolean {
  return isDeepStrictEqual(a, b);
}

/**
 * What a node that runs this configuration is to announce: inside the declared prefixes and the node's own address, by which its peers
 * reach it; outside the public addresses of all gateways, floating addresses and port forwards that it runs, since any node may receive any packet. Addresses are merged where
 * they fill a block, and give way to a declared aggregate.
 */
export function announcementsOf(spec: NodeConfig["spec"]): Announcements {
  const { routing, node, gateways } = spec;
  if (!routing?.announce) return NOTHING;
  const ofGateways = gateways.flatMap((gateway) =>
    gateway.addresses.map((placed) => address(placed.address)),
  );
  const used = [...ofGateways, ...staticAddresses(spec)];
  const aggregates = routing.publicAggregates.map(cidr);
  const single = used.filter((one) => !aggregates.some((block) => cidrContains(block, one)));
  const whole = aggregates.filter((block) => used.some((one) => cidrContains(block, one)));
  return {
    inside: formatBlocks([...routing.insidePrefixes.map(cidr), cidr(`${node.address}/32`)]),
    outside: formatBlocks([...coverExactly(single), ...whole]),
  };
}

/** The fewest blocks that contain these addresses and no others, in ascending order. */
export function coverExactly(addresses: readonly number[]): Cidr[] {
  const blocks: Cidr[] = [];
  for (const first of [...new Set(addresses)].sort((a, b) => a - b)) {
    let block: Cidr = { first, bits: 32 };
    // Two blocks that are the halves of a larger one are that one.
    for (let last = blocks.at(-1); last && areHalves(last, block); last = blocks.at(-1)) {
      blocks.pop();
      block = { first: last.first, bits: last.bits - 1 };
    }
    blocks.push(block);
  }
  return blocks;
}

function areHalves(low: Cidr, high: Cidr): boolean {
  if (low.bits !== high.bits || low.first + cidrSize(low) !== high.first) return false;
  return (low.first & netmask(low.bits - 1)) >>> 0 === low.first;
}

/** The prefixes that cover exactly the addresses that both sets cover. */
export function commonAnnouncements(a: Announcements, b: Announcements): Announcements {
  return { inside: common(a.inside, b.inside), outside: common(a.outside, b.outside) };
}

function common(a: readonly string[], b: readonly string[]): readonly string[] {
  const [ours, theirs] = [a.map(cidr), b.map(cidr)];
  // Of two blocks that overlap one lies within the other.
  const smaller = ours.flatMap((x) =>
    theirs.filter((y) => cidrsOverlap(x, y)).map((y) => (x.bits > y.bits ? x : y)),
  );
  return formatBlocks(smaller);
}

/**
 * The sets to announce one after the other, the last of which is `to`. BGP takes away before it adds, so where what goes overlaps what comes (a
 * block that is cut, or merged), both stand for a moment: no address that both sets cover is ever without a route.
 */
export function transition(from: Announcements, to: Announcements): readonly Announcements[] {
  if (sameAnnouncements(from, to)) return [];
  const inside = bridge(from.inside, to.inside);
  const outside = bridge(from.outside, to.outside);
  if (!inside && !outside) return [to];
  return [{ inside: inside ?? to.inside, outside: outside ?? to.outside }, to];
}

/** All prefixes of both sets, if one that goes overlaps one that comes. */
function bridge(from: readonly string[], to: readonly string[]): readonly string[] | undefined {
  const going = from.filter((prefix) => !to.includes(prefix)).map(cidr);
  const coming = to.filter((prefix) => !from.includes(prefix)).map(cidr);
  const needed = going.some((block) => coming.some((other) => cidrsOverlap(block, other)));
  return needed ? formatBlocks([...from, ...to].map(cidr)) : undefined;
}

/** Blocks as text, in ascending order, each once. */
function formatBlocks(blocks: readonly Cidr[]): readonly string[] {
  const sorted = blocks.toSorted((a, b) => a.first - b.first || a.bits - b.bits);
  return [...new Set(sorted.map(formatCidr))];
}

/** Prefixes in ascending order, each once. */
export function sortPrefixes(prefixes: readonly string[]): readonly string[] {
  return formatBlocks(prefixes.map(cidr));
}
