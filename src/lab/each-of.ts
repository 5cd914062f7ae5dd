/** Doing the same for many hosts. */

/** How many hosts are set up at a time: each is a shell that runs a handful of short programs. */
const PARALLEL = 4;

/** Does something for each item, a few at a time. After a failure nothing more is begun, and all that was begun is waited for. */
export async function eachOf<T>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async () => {
    for (const item of queue) {
      if (failed) return;
      signal?.throwIfAborted();
      await act(item).catch((thrown: unknown) => {
        failed = true;
        throw thrown;
      });
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
