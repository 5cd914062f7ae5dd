/** A queue between callbacks that bring and one reader that takes, which knows how much is waiting. */
export interface Inbox<T> {
  /** `size`: in whatever unit `waiting` is to count. */
  put(item: T, size: number): void;
  /** The sum of the sizes of what has not been taken. */
  waiting(): number;
  /** Resolves when there is something. To be called by one reader at a time. */
  take(): Promise<T>;
}

export function makeInbox<T>(): Inbox<T> {
  let items: { readonly item: T; readonly size: number }[] = [];
  let next = 0;
  let waiting = 0;
  let wake: (() => void) | undefined;
  return {
    put: (item, size) => {
      items.push({ item, size });
      waiting += size;
      wake?.();
    },
    waiting: () => waiting,
    take: async () => {
      if (next === items.length) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
      const { item, size } = items[next++]!;
      waiting -= size;
      if (next === items.length) {
        items = [];
        next = 0;
      }
      return item;
    },
  };
}
