/** Leases of etcd: times to live that the cluster keeps, and that go on with a new leader of etcd. */
import { NattoError } from "../errors.ts";
import type { EtcdClient } from "./etcd-client.ts";
import { LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE } from "./etcd-rpc.ts";
import type { Leases } from "./key-value.ts";

/** etcd counts in whole seconds, and lengthens what is shorter than one and a half of its elections. */
export function etcdLeases(client: EtcdClient): Leases {
  return {
    grant: async (ttlMs) => {
      const outcome = await client.write(LEASE_GRANT, { TTL: Math.ceil(ttlMs / 1000) });
      // A lease that was granted unheard ends by itself.
      if (outcome.status === "unknown") throw outcome.error;
      const { ID, TTL } = outcome.answer;
      return { id: ID, ttlMs: Number(TTL) * 1000 };
    },
    prolong: async (id) => Number((await client.read(LEASE_KEEP_ALIVE, { ID: id })).TTL) > 0,
    revoke: async (id) => {
      await client.read(LEASE_REVOKE, { ID: id }).catch((thrown: unknown) => {
        if (!(thrown instanceof NattoError) || thrown.code !== "NotFound") throw thrown;
      });
    },
  };
}
