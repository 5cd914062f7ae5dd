/** Expiry: what the kernel timer does to all records (docs/dataplane.md, "Expiry"). */
import { hasRested } from "./mappings.ts";
import { removeRecord } from "./records.ts";
import { endSession } from "./sessions.ts";
import { type Gateway, type ModelConfig, ownerOfSlot, type Session, type State } from "./state.ts";

export interface Swept {
  readonly state: State;
  /** How many sessions ended: what `sessions_expired` grows by. */
  readonly expired: number;
}

/** Ends every session that has been idle for its timeout at `now` (ms), or whose slot is not this node's any more. */
export function sweep(config: ModelConfig, state: State, now: number): Swept {
  let swept = state;
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
  return { state: swept, expired };
}

function isOver(config: ModelConfig, session: Session, now: number): boolean {
  const gateway = config.gateways.get(session.slot.gateway);
  if (!gateway || ownerOfSlot(config, session.slot).kind !== "self") return true;
  return now - lastSeen(session) >= timeoutSeconds(gateway, session) * 1000;
}

/** When the last packet of either direction was seen (ms). */
export function lastSeen({ outbound, inbound }: Session): number {
  return Math.max(outbound.at ?? Number.NEGATIVE_INFINITY, inbound.at ?? Number.NEGATIVE_INFINITY);
}

/** The timeout that holds for a session by what its packets have shown (RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2). */
export function timeoutSeconds(
  { behaviour: { timeouts } }: Gateway,
  { protocol, outbound, inbound }: Session,
): number {
  if (protocol !== "tcp") return timeouts[protocol];
  if (outbound.fin || outbound.rst || inbound.fin || inbound.rst) return timeouts.tcpTransitory;
  return outbound.syn && inbound.syn ? timeouts.tcpEstablished : timeouts.tcpHalfOpen;
}
