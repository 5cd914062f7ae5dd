/** Whether one node shows a sign of life, for somebody who asks once and has not listened before. */
import { setTimeout as delay } from "node:timers/promises";
import { SYSTEM_CLOCK } from "../clock.ts";
import { NattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Store } from "../store/store.ts";
import { isSilent, judge, type Observations, type TtlMsOf } from "./judgement.ts";
import { type LeaseObserver, observeLeases } from "./lease-observer.ts";
import { leaseSilenceMs } from "./store-membership.ts";

const LOOK_MS = 100;
/** How long the store may take to be heard, beyond the time for which a node is listened to. */
const PATIENCE_MS = 10_000;

export interface Listening {
  /** Milliseconds for which silence has to last to be believed. */
  readonly silenceMs: number;
  /** What was heard of the node, for people; undefined when it was silent and no living peer saw it. Throws `Unavailable`. */
  readonly sign: () => Promise<string | undefined>;
}

/** Prepares to listen to the Leases of the node and of its peers. A heartbeat ends it at once, silence after `silenceMs`. */
export async function listenFor(store: Store, { metadata, spec }: GatewayNode): Promise<Listening> {
  const { name } = metadata;
  const [cell, lease] = await Promise.all([
    store.get({ kind: "Cell", name: spec.cell }),
    store.get({ kind: "Lease", name }),
  ]);
  const silenceMs = leaseSilenceMs(cell, lease?.spec ?? {});
  return {
    silenceMs,
    sign: async () => {
      const leases = observeLeases(store, { tickMs: LOOK_MS, silenceMs: leaseSilenceMs });
      try {
        return await listen(leases, name, silenceMs + PATIENCE_MS);
      } finally {
        await leases.close();
      }
    },
  };
}

async function listen(leases: LeaseObserver, node: string, limitMs: number): Promise<string | undefined> {
  const now = SYSTEM_CLOCK.elapsed;
  for (const end = now() + limitMs; now() < end; await delay(LOOK_MS)) {
    const observations = leases.look();
    const finding = observations && findingOf(observations, node, leases.silenceMsOf, now());
    if (finding) return finding.sign;
  }
  throw new NattoError(
    "Unavailable",
    `the Leases could not be listened to for long enough to know whether node ${node} lives: ${leases.trouble() ?? "the store was silent"}`,
  );
}

/** Undefined while it is too early to say. */
function findingOf(
  observations: Observations,
  node: string,
  ttlMsOf: TtlMsOf,
  now: number,
): { readonly sign: string | undefined } | undefined {
  const seen = observations.get(node);
  if (!seen) return { sign: undefined };
  const members = judge(observations, ttlMsOf, now);
  if (members.get(node) === "alive") return { sign: "its agent renews its Lease" };
  if (!isSilent(seen, ttlMsOf(seen), now)) return undefined;
  if (members.get(node) === "gone") return { sign: undefined };
  const peers = [...observations].filter(
    ([peer, { cell, peersAlive }]) =>
      members.get(peer) === "alive" && cell === seen.cell && peersAlive.includes(node),
  );
  const names = peers.map(([peer]) => peer).join(", ");
  return { sign: `its agent is silent, but its dataplane answers the probes of ${names}` };
}
