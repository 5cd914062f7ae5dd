/** Claims: a set of address ranges, each with the object that claimed it, in which no two of different objects overlap. */
import { type Cidr, cidrSize, formatCidr } from "../model/ipv4.ts";
import { parseBlocks } from "./parsed.ts";

interface Claim {
  readonly first: number;
  readonly last: number;
  readonly block: Cidr;
  readonly claimant: string;
}

export interface Clash {
  /** The block that was asked for, and the one that is claimed already. */
  readonly wanted: string;
  readonly claimed: string;
  readonly claimant: string;
}

export interface Claims {
  /** Claims all blocks for an object, or none and says which one clashes. Blocks of one object may overlap each other. */
  claim(claimant: string, blocks: readonly string[]): Clash | undefined;
}

export function makeClaims(): Claims {
  /** In ascending order, without overlaps. */
  const held: Claim[] = [];

  /** Index of the first claim that ends at or after the address. */
  function lowerBound(address: number): number {
    let low = 0;
    let high = held.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (held[middle]!.last < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  return {
    claim: (claimant, texts) => {
      const wanted = disjoint(parseBlocks(texts));
      for (const block of wanted) {
        const other = held[lowerBound(block.first)];
        if (other && other.first < block.first + cidrSize(block)) {
          return { wanted: formatCidr(block), claimed: formatCidr(other.block), claimant: other.claimant };
        }
      }
      for (const block of wanted) {
        const last = block.first + cidrSize(block) - 1;
        held.splice(lowerBound(block.first), 0, { first: block.first, last, block, claimant });
      }
      return undefined;
    },
  };
}

/** The same addresses in ascending blocks that do not overlap (two CIDR blocks overlap only if one contains the other). */
export function disjoint(blocks: readonly Cidr[]): readonly Cidr[] {
  if (blocks.length === 1) return blocks;
  const kept: Cidr[] = [];
  let end = -1;
  for (const block of blocks.toSorted((a, b) => a.first - b.first || a.bits - b.bits)) {
    if (block.first <= end) continue;
    kept.push(block);
    end = block.first + cidrSize(block) - 1;
  }
  return kept;
}
