/** What tests of memberships share. */
import { type Lease, leaseSchema } from "../model/lease.ts";
import { API_VERSION } from "../model/meta.ts";
import type { Store } from "../store/store.ts";

/** The Lease of a node of cell `c1`. */
export function lease(
  name: string,
  renewals: number,
  peersAlive: readonly string[] = [],
  cell = "c1",
  membership?: "consul",
): Lease {
  return leaseSchema.parse({
    apiVersion: API_VERSION,
    kind: "Lease",
    metadata: { name },
    spec: { cell, renewals, renewedAt: "", peersAlive, membership },
  });
}

/** Renews the Lease of a node in the store, or makes it. */
export async function beat(
  store: Store,
  name: string,
  peersAlive: readonly string[] = [],
  membership?: "consul",
): Promise<void> {
  const stored = await store.get({ kind: "Lease", name });
  const draft = lease(name, (stored?.spec.renewals ?? 0) + 1, peersAlive, "c1", membership);
  await (stored ? store.update<"Lease">(draft) : store.create<"Lease">(draft));
}
