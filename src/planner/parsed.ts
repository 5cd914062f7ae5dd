/**
 * Addresses and blocks as numbers, parsed once per declaration: objects are never changed in place, so the list itself can be the key.
 * With ten thousand gateways, parsing them all at every plan would cost more than the planning.
 */
import { address, type Cidr, cidr } from "../model/ipv4.ts";
import type { PlacedAddress } from "../model/placement.ts";

const blocksOf = new WeakMap<readonly string[], readonly Cidr[]>();
const numbersOf = new WeakMap<readonly PlacedAddress[], readonly number[]>();

/** The CIDR blocks of a list that was validated before. */
export function parseBlocks(texts: readonly string[]): readonly Cidr[] {
  return remember(blocksOf, texts, () => texts.map(cidr));
}

/** The addresses of a placement, in order. */
export function parsePlaced(placed: readonly PlacedAddress[]): readonly number[] {
  return remember(numbersOf, placed, () => placed.map((p) => address(p.address)));
}

function remember<K extends object, V>(known: WeakMap<K, V>, key: K, make: () => V): V {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}
