/**
 * Whether a peer's dataplane forwards, told from the answers to probes. Pure, and without a clock: it counts the prober's ticks, at each of which
 * one probe is sent. So an observer that was held up itself does not take its own silence for the peer's.
 *
 * Damped, so that a peer behind a bad link does not flap: a silence that comes out of a clean link is believed soon, one on a link that
 * loses packets late; who was dead must answer steadily to count as alive, and for longer the more often it died.
 */

/** `unknown`: it was not probed for long enough to tell. */
export type View = "unknown" | "alive" | "dead";

export interface PeerLiveness {
  readonly view: View;
  /** Whether an answer came since the last tick. */
  readonly answered: boolean;
  /** Ticks in a row without an answer. */
  readonly silent: number;
  /** The last 32 ticks, the newest as the lowest bit; 1 = answered. */
  readonly recent: number;
  /** The link had lost packets before the present silence began. */
  readonly lossy: boolean;
  /** Ticks for which it keeps the view that it has now. */
  readonly since: number;
  /** How many ticks it stays dead at least. */
  readonly penalty: number;
}

/** Silent ticks after which a peer is dead, and on a link that loses packets. */
export const SILENCE = 6;
export const LOSSY_SILENCE = 25;
/** Lost probes among the last 32 that make a link lossy. */
const LOSSY_MISSES = 2;
/** To be alive again a peer has answered so many of the last probes. */
const RETURN_ANSWERS = 10;
const RETURN_WINDOW = 20;
/** A peer that died stays dead for so many ticks; one that dies again soon for twice as many each time, up to the most. */
const FIRST_PENALTY = 25;
const MOST_PENALTY = 800;
/** A peer that was alive for so many ticks has its deaths forgiven. */
const FORGIVEN_AFTER = 1500;

export const UNPROBED: PeerLiveness = {
  view: "unknown",
  answered: false,
  silent: 0,
  recent: 0xffff_ffff,
  lossy: false,
  since: 0,
  penalty: 0,
};

/** An answer came. Whether it is one to a probe of late is for the prober to tell. */
export function noteAnswer(peer: PeerLiveness): PeerLiveness {
  return peer.answered ? peer : { ...peer, answered: true };
}

/** A tick has passed: judges what came since the one before. */
export function tick(peer: PeerLiveness): PeerLiveness {
  const silent = peer.answered ? 0 : peer.silent + 1;
  const recent = ((peer.recent << 1) | Number(peer.answered)) >>> 0;
  const lossy = silent === 1 ? 32 - countBits(peer.recent) >= LOSSY_MISSES : peer.lossy;
  const next: PeerLiveness = { ...peer, answered: false, silent, recent, lossy, since: peer.since + 1 };
  switch (peer.view) {
    case "unknown":
      if (silent === 0) return { ...next, view: "alive", since: 0 };
      return silent >= LOSSY_SILENCE ? { ...next, view: "dead", since: 0 } : next;
    case "alive":
      return silent >= (lossy ? LOSSY_SILENCE : SILENCE) ? die(next) : next;
    case "dead": {
      const answers = countBits(recent & (2 ** RETURN_WINDOW - 1));
      const isSteady = silent === 0 && answers >= RETURN_ANSWERS;
      return isSteady && next.since >= next.penalty ? { ...next, view: "alive", since: 0 } : next;
    }
  }
}

/** The first death costs little; each one that follows soon costs twice as much. */
function die(peer: PeerLiveness): PeerLiveness {
  const forgiven = peer.since >= FORGIVEN_AFTER || peer.penalty === 0;
  const penalty = forgiven ? FIRST_PENALTY : Math.min(MOST_PENALTY, 2 * peer.penalty);
  return { ...peer, view: "dead", since: 0, penalty };
}

function countBits(word: number): number {
  let count = 0;
  for (let rest = word >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) count++;
  return count;
}
