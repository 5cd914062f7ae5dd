/** Being told to stop. */

/** Resolves with the first SIGINT or SIGTERM; a second one ends the process at once, as if nobody listened. */
export function untilStopped(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const signals = ["SIGINT", "SIGTERM"] as const;
    const stop = (signal: NodeJS.Signals) => {
      for (const each of signals) process.off(each, stop);
      resolve(signal);
    };
    for (const each of signals) process.on(each, stop);
  });
}
