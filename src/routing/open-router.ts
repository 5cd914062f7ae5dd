/** The router of a node: the driver that its routing names, and nothing left of the other one. */
import { cleanupBird, openBirdRouter } from "./bird-router.ts";
import { cleanupKernelRoutes, openKernelRouter } from "./kernel-router.ts";
import type { Router } from "./router.ts";

/** Opens the router; nothing is started or changed before the first `ensure`. Throws `Environment` when the state folder cannot serve. */
export function openRouter(stateFolder: string): Router {
  const [bird, kernel] = [openBirdRouter(stateFolder), openKernelRouter(stateFolder)];
  return {
    async ensure(wish) {
      // The one that is wanted first: each takes back what it had when the wish is another's.
      const [first, second] = wish?.routing.driver === "kernel" ? [kernel, bird] : [bird, kernel];
      return [...(await first.ensure(wish)), ...(await second.ensure(wish))];
    },
    observe: (wish) => (wish?.routing.driver === "kernel" ? kernel : bird).observe(wish),
  };
}

/** Takes back all that was announced, then removes what was made for it, whether an agent runs or not. Returns what was removed, for people. */
export async function cleanupRouting(stateFolder: string): Promise<readonly string[]> {
  return [...(await cleanupBird(stateFolder)), ...(await cleanupKernelRoutes(stateFolder))];
}
