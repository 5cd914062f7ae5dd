/**
 * Whether a peer's dataplane forwards, told from the answers to numbered probes. Pure: time is a parameter, in milliseconds
 * of any clock that only goes forward.
 *
 * A probe is missed when no answer came within `PROBE_TIMEOUT_MS`. One answer makes a peer alive; `MISSES_TO_DEATH` probes in
 * a row that were missed make it dead.
 */

export const PROBE_TIMEOUT_MS = 1000;
export const MISSES_TO_DEATH = 4;

export interface SentProbe {
  readonly sequence: number;
  readonly sentAt: number;
}

export interface PeerLiveness {
  readonly alive: boolean;
  /** Probes in a row that were missed, up to now. */
  readonly misses: number;
  /** Probes that may still be answered, oldest first. */
  readonly pending: readonly SentProbe[];
}

/** A peer that was never probed counts as dead until it answers. */
export const UNPROBED: PeerLiveness = { alive: false, misses: 0, pending: [] };

/** A probe with this number was sent. Numbers grow. */
export function probeSent(peer: PeerLiveness, sequence: number, now: number): PeerLiveness {
  return { ...peer, pending: [...peer.pending, { sequence, sentAt: now }] };
}

/**
 * An answer to the probe with this number arrived. Late ones and ones that nobody asked for change nothing. The probes sent
 * before it are settled too: whether they were lost no longer matters for a row of misses.
 */
export function probeAnswered(peer: PeerLiveness, sequence: number, now: number): PeerLiveness {
  const probe = peer.pending.find((p) => p.sequence === sequence);
  if (!probe || now - probe.sentAt > PROBE_TIMEOUT_MS) return peer;
  return { alive: true, misses: 0, pending: peer.pending.filter((p) => p.sequence > sequence) };
}

/** Counts the probes whose time is over as missed. */
export function expireProbes(peer: PeerLiveness, now: number): PeerLiveness {
  const pending = peer.pending.filter((p) => now - p.sentAt <= PROBE_TIMEOUT_MS);
  const missed = peer.pending.length - pending.length;
  if (missed === 0) return peer;
  const misses = Math.min(MISSES_TO_DEATH, peer.misses + missed);
  return { alive: peer.alive && misses < MISSES_TO_DEATH, misses, pending };
}

/**
 * Forgets the probes under way without a verdict: for an observer that was itself stopped for so long that answers may lie
 * unread in its socket.
 */
export function forgetProbes(peer: PeerLiveness): PeerLiveness {
  return peer.pending.length === 0 ? peer : { ...peer, pending: [] };
}
