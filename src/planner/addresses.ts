/** Which public addresses each gateway has: those it had, and the lowest free ones of its pool for what is missing. */
import type { AddressPool } from "../model/address-pool.ts";
import { type Cidr, cidrContains, cidrSize, formatAddress } from "../model/ipv4.ts";
import type { PlacedAddress } from "../model/placement.ts";
import { disjoint } from "./claims.ts";
import { parseBlocks, parsePlaced } from "./parsed.ts";

export interface AddressRequest {
  /** Of the object that asks; no two have the same. */
  readonly key: string;
  readonly pool: string;
  readonly count: number;
  /** The addresses of its previous placement, in order. */
  readonly previous: readonly PlacedAddress[];
  /** The pool is missing or broken: it keeps what it has, wherever that is from, and gets nothing. */
  readonly frozen: boolean;
  /** This address and no other (`count` is 1). */
  readonly wanted?: number | undefined;
}

export interface Grant {
  readonly addresses: readonly string[];
  /** How many are wanted that the pool does not have. */
  readonly missing: number;
  /** Addresses taken away because they are not in the pool (any more), or belong to an older gateway. */
  readonly withdrawn: readonly string[];
}

export interface PoolUse {
  readonly total: number;
  readonly allocated: number;
  /** Addresses that its gateways want and do not get. */
  readonly missing: number;
}

export interface Allocation {
  readonly grants: ReadonlyMap<string, Grant>;
  readonly pools: ReadonlyMap<string, PoolUse>;
}

interface Stock {
  readonly blocks: readonly Cidr[];
  allocated: number;
  missing: number;
  /** Where the search for the next free address goes on: all before it is taken. */
  block: number;
  offset: number;
}

/** Grants addresses; where there are too few, those who come first in `requests` get them. No address is granted twice. */
export function allocate(requests: readonly AddressRequest[], pools: readonly AddressPool[]): Allocation {
  const stocks = new Map<string, Stock>();
  for (const pool of pools) {
    const blocks = disjoint(parseBlocks(pool.spec.cidrs));
    stocks.set(pool.metadata.name, { blocks, allocated: 0, missing: 0, block: 0, offset: 0 });
  }
  const taken = new Set<number>();
  const kept = requests.map((request) => keep(request, stocks.get(request.pool), taken));
  requests.forEach((request, i) => {
    const wanted = takeWanted(request, stocks.get(request.pool), taken, kept[i]!.addresses);
    if (wanted) kept[i] = { ...kept[i]!, addresses: wanted };
  });
  const grants = new Map<string, Grant>();
  requests.forEach((request, i) => {
    const { addresses, withdrawn } = kept[i]!;
    const stock = request.frozen ? undefined : stocks.get(request.pool);
    const fresh =
      stock && request.wanted === undefined ? take(stock, request.count - addresses.length, taken) : [];
    const missing = Math.max(0, request.count - addresses.length - fresh.length);
    if (stock) {
      stock.allocated += addresses.length + fresh.length;
      stock.missing += missing;
    }
    grants.set(request.key, {
      addresses: fresh.length === 0 ? addresses : [...addresses, ...fresh],
      missing,
      withdrawn,
    });
  });
  return { grants, pools: new Map([...stocks].map(([name, stock]) => [name, useOf(stock)])) };
}

function keep(
  request: AddressRequest,
  stock: Stock | undefined,
  taken: Set<number>,
): { readonly addresses: readonly string[]; readonly withdrawn: readonly string[] } {
  const addresses: string[] = [];
  const withdrawn: string[] = [];
  const numbers = parsePlaced(request.previous);
  request.previous.forEach(({ address: text }, i) => {
    const address = numbers[i]!;
    const valid = request.frozen || stock?.blocks.some((block) => cidrContains(block, address));
    const unwanted = request.wanted !== undefined && request.wanted !== address;
    if (unwanted) return;
    if (!valid || taken.has(address)) withdrawn.push(text);
    else if (addresses.length < request.count) {
      addresses.push(text);
      taken.add(address);
    }
  });
  return { addresses, withdrawn };
}

/** An address that is asked for by itself and not held yet; nobody who holds one loses it by that. */
function takeWanted(
  { wanted, frozen }: AddressRequest,
  stock: Stock | undefined,
  taken: Set<number>,
  held: readonly string[],
): readonly string[] | undefined {
  if (wanted === undefined || frozen || held.length > 0 || taken.has(wanted)) return undefined;
  if (!stock?.blocks.some((block) => cidrContains(block, wanted))) return undefined;
  taken.add(wanted);
  return [formatAddress(wanted)];
}

function take(stock: Stock, count: number, taken: Set<number>): readonly string[] {
  const found: string[] = [];
  while (found.length < count && stock.block < stock.blocks.length) {
    const block = stock.blocks[stock.block]!;
    if (stock.offset === cidrSize(block)) {
      stock.block++;
      stock.offset = 0;
      continue;
    }
    const address = block.first + stock.offset++;
    if (taken.has(address)) continue;
    taken.add(address);
    found.push(formatAddress(address));
  }
  return found;
}

function useOf({ blocks, allocated, missing }: Stock): PoolUse {
  return { total: blocks.reduce((sum, block) => sum + cidrSize(block), 0), allocated, missing };
}
