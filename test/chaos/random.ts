/** Random choices that a seed decides, so that a run can be repeated. */

export interface Random {
  /** At least `least`, less than `end`. */
  between(least: number, end: number): number;
  /** Throws on an empty list. */
  pick<T>(items: readonly T[]): T;
}

/** Marsaglia's xorshift32; any seed will do. */
export function seededRandom(seed: number): Random {
  let x = Math.imul(seed, 0x9e3779b9) >>> 0 || 1;
  const next = () => {
    x = (x ^ (x << 13)) >>> 0;
    x = (x ^ (x >>> 17)) >>> 0;
    x = (x ^ (x << 5)) >>> 0;
    return x / 2 ** 32;
  };
  const between = (least: number, end: number) => least + next() * (end - least);
  return {
    between,
    pick: (items) => {
      const item = items[Math.floor(between(0, items.length))];
      if (item === undefined) throw new RangeError("there is nothing to pick from");
      return item;
    },
  };
}
