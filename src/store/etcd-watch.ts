/**
 * Follows the changes under a prefix over as many watches of etcd as it takes: when one breaks, the next, on another member,
 * begins right after the last change that was passed on.
 */
import type { EtcdClient } from "./etcd-client.ts";
import { type KeyRange, type SessionOptions, watchOnce } from "./etcd-session.ts";
import type { ChangeBatch } from "./key-value.ts";
import { pause } from "./pause.ts";

const RETRY_MS = { first: 50, max: 1_000 };

/**
 * As `KeyValueStore.watch` says. Throws `Unavailable` when `client.attempts` attempts in a row have failed; each member has had its
 * turn by then.
 */
export async function* watchRange(
  client: EtcdClient,
  range: KeyRange,
  from: number,
  signal: AbortSignal,
  options: SessionOptions,
): AsyncGenerator<ChangeBatch> {
  const ending = AbortSignal.any([signal, client.closing]);
  let position = from;
  let failures = 0;
  let renewed = false;
  while (!signal.aborted) {
    const member = client.member();
    try {
      for await (const batch of watchOnce({
        client,
        member,
        range,
        from: position,
        ending,
        options,
      })) {
        position = batch.revision;
        failures = 0;
        renewed = false;
        if (signal.aborted) return;
        yield batch;
      }
    } catch (thrown) {
      if (signal.aborted) return;
      const { next, error } = client.failed(member, thrown);
      failures++;
      if (next === "refused" || failures >= client.attempts || (next === "login" && renewed)) throw error;
      renewed = next === "login";
      if (!renewed) await pause(Math.min(RETRY_MS.max, RETRY_MS.first * 2 ** (failures - 1)), ending);
    }
  }
}
