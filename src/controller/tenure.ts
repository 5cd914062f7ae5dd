/**
 * How a leader holds its leadership, and how it loses it. Two ways, of which the store decides: one that can bind an object to a lease of its
 * own (etcd) judges by itself whether the holder lives, and deletes the leadership of one that does not; in all others the holder renews the
 * object, and whoever waits judges by its own clock. Either way the fence is the store's check of uid and generation with each write.
 */
import { NattoError } from "../errors.ts";
import type { Leadership } from "../model/leadership.ts";
import { API_VERSION } from "../model/meta.ts";
import { validateObject } from "../model/validate.ts";
import type { Store, StoreLease } from "../store/store.ts";

type Spec = Leadership["spec"];

/** All of these throw NattoErrors; `NotFound` and `Fenced`: the leadership is not the holder's any more. */
export interface Tenure {
  /** Begins a term, if the leadership is still what was found. */
  begin(found: Leadership | undefined, spec: Spec): Promise<Leadership>;
  /** Shows that the holder lives; the leadership as it is then. `fenced`: the store in this term. `now`: RFC 3339, for people. */
  renew(held: Leadership, fenced: Store, now: string): Promise<Leadership>;
  /** Gives the leadership up, for others to take at once. */
  end(held: Leadership, fenced: Store): Promise<void>;
}

/** `group`: the name of the leadership. */
export function tenureIn(store: Store, group: string): Tenure {
  return store.grantLease ? leasedTenure(store, group, store.grantLease) : renewedTenure(store, group);
}

function renewedTenure(store: Store, group: string): Tenure {
  return {
    begin: (found, spec) => write(store, group, found, spec),
    renew: (held, fenced, now) => {
      const status = { renewals: (held.status?.renewals ?? 0) + 1, renewedAt: now };
      return fenced.updateStatus<"Leadership">({ ...unconditional(held), status });
    },
    end: async (held, fenced) => {
      await fenced.update<"Leadership">({ ...unconditional(held), spec: { ...held.spec, holder: "" } });
    },
  };
}

function leasedTenure(store: Store, group: string, grantLease: NonNullable<Store["grantLease"]>): Tenure {
  /** Under one of them this process leads; the others are those of attempts of which it is not known what became of them. */
  const leases = new Map<string, StoreLease>();

  /** What is written under a lease that has ended is gone, or never takes place. */
  async function drop(lease: StoreLease): Promise<void> {
    leases.delete(lease.id);
    await lease.end();
  }

  return {
    begin: async (found, spec) => {
      for (const lease of leases.values()) await drop(lease);
      const lease = await grantLease(spec.ttlMs);
      leases.set(lease.id, lease);
      try {
        return await write(lease.store, group, found, { ...spec, ttlMs: lease.ttlMs, lease: lease.id });
      } catch (thrown) {
        const mayBeDone = thrown instanceof NattoError && thrown.transient;
        // If it cannot be ended, it ends by itself.
        if (!mayBeDone) await drop(lease).catch(() => {});
        throw thrown;
      }
    },
    renew: async (held) => {
      const { metadata, spec } = held;
      const lives = await leases.get(spec.lease ?? "")?.prolong();
      // Nothing is written that could show that somebody has put another into its place.
      const found = lives ? await store.get<"Leadership">({ kind: "Leadership", name: group }) : undefined;
      if (found?.metadata.uid === metadata.uid && found.metadata.generation === metadata.generation)
        return held;
      const why = lives ? "somebody else has taken it or deleted it" : "its lease in the store has ended";
      throw new NattoError(
        "NotFound",
        `${spec.holder} does not lead ${group} any more: ${why}; stand for election again`,
      );
    },
    end: async ({ spec }) => {
      const lease = leases.get(spec.lease ?? "");
      if (lease) await drop(lease);
    },
  };
}

/** Puts the spec into the place of what was found, or creates the leadership if nothing was. */
function write(store: Store, name: string, found: Leadership | undefined, spec: Spec): Promise<Leadership> {
  if (found) return store.update<"Leadership">({ ...found, spec });
  const draft = { apiVersion: API_VERSION, kind: "Leadership", metadata: { name }, spec };
  return store.create<"Leadership">(validateObject(draft) as Leadership);
}

function unconditional(object: Leadership): Leadership {
  return { ...object, metadata: { ...object.metadata, resourceVersion: "" } };
}
