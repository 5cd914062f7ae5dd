/** Expiry: what the kernel timer does to all records (docs/dataplane.md, "Expiry"). */
import { sweepFragments } from "./fragments.ts";
import { sweepHeld } from "./held-fragments.ts";
import { hasRested } from "./mappings.ts";
import { removeRecord } from "./records.ts";
import { endSession } from "./sessions.ts";
import { type Gateway, holdsSlot, type ModelConfig, type Session, type State } from "./state.ts";

export interface Swept {
  readonly state: State;
  /** How many sessions ended: what `sessions_expired` grows by. */
  readonly expired: number;
  /** How many fragments whose first never came: what `fragments_expired` grows by. */
  readonly lostFragments: number;
}

/** Ends every session that has been idle for its timeout at `now` (ms), or whose slot is not this node's any more; forgets what is left of old datagrams. */
export function sweep(config: ModelConfig, state: State, now: number): Swept {
  const held = sweepHeld(state, now);
  let swept = sweepFragments(held.state, now);
  let expired = 0;
  for (const index of state.records.keys()) {
    const record = swept.records.get(index);
    if (record?.kind === "mapping" && hasRested(config, record, now)) {
      swept = removeRecord(swept, index);
    } else if (record?.kind === "session" && isOver(config, record, now)) {
      swept = endSession(config, swept, { index, record }, now);
      expired++;
    }
  }
  return { state: swept, expired, lostFragments: held.expired };
}

function isOver(config: ModelConfig, session: Session, now: number): boolean {
  const gateway = config.gateways.get(session.slot.gateway);
  if (!gateway || !holdsSlot(config, session.slot)) return true;
  return now - lastRefreshed(gateway, session) >= timeoutSeconds(gateway, session) * 1000;
}

/** When the last packet was seen (ms) that keeps the session: UDP from outside does not unless told (RFC 4787 REQ-6). */
function lastRefreshed({ behaviour }: Gateway, { protocol, outbound, inbound }: Session): number {
  const counts = protocol !== "udp" || behaviour.inboundRefresh.udp;
  return Math.max(outbound.at ?? 0, counts ? (inbound.at ?? 0) : 0);
}

/**
 * The timeout that holds for a session by what its packets have shown (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2). A connection that only one
 * side has closed may go on for long; it counts as established (as in RFC 6146, section 3.5.2.2).
 */
export function timeoutSeconds(
  { behaviour: { timeouts } }: Gateway,
  { protocol, outbound, inbound }: Session,
): number {
  if (protocol !== "tcp") return timeouts[protocol];
  if (outbound.rst || inbound.rst || (outbound.fin && inbound.fin)) return timeouts.tcpTransitory;
  return outbound.syn && inbound.syn ? timeouts.tcpEstablished : timeouts.tcpHalfOpen;
}
