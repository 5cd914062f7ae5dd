/**
 * The book-keeping of one flow of numbered packets, at the prober and at the server. No I/O and no clock: times are parameters, in
 * milliseconds of any clock.
 */

/** A set of sequence numbers that are counted up from 0. */
export interface SequenceSet {
  readonly size: number;
  /** False when it was in it already, or is beyond the largest number that is kept. */
  add(sequence: number): boolean;
  has(sequence: number): boolean;
}

/** Packets per flow: at 1,000 a second, four hours. */
const MAX_SEQUENCE = 1 << 24;

export function sequenceSet(): SequenceSet {
  let bits = new Uint8Array(64);
  let size = 0;
  return {
    get size() {
      return size;
    },
    add(sequence) {
      if (sequence >= MAX_SEQUENCE) return false;
      const byte = sequence >>> 3;
      if (byte >= bits.length) {
        const larger = new Uint8Array(2 ** Math.ceil(Math.log2(byte + 1)));
        larger.set(bits);
        bits = larger;
      }
      const mask = 1 << (sequence & 7);
      const before = bits[byte] ?? 0;
      if ((before & mask) !== 0) return false;
      bits[byte] = before | mask;
      size++;
      return true;
    },
    has: (sequence) => ((bits[sequence >>> 3] ?? 0) & (1 << (sequence & 7))) !== 0,
  };
}

export interface Gap {
  readonly ms: number;
  readonly from: number;
  readonly to: number;
}

/** What became of the packets of a flow: `sent` = `answered` + `lostOutbound` + `lostInbound` + `unresolved`. */
export interface FlowCounts {
  readonly sent: number;
  readonly answered: number;
  /** Never reached the server. */
  readonly lostOutbound: number;
  /** Reached the server, whose answer was lost. */
  readonly lostInbound: number;
  /** Sent after the last sign of life from the server: lost, in which direction nobody knows. */
  readonly unresolved: number;
  /** Answers that came twice. */
  readonly duplicates: number;
}

/** Losses of a flow that are listed one by one. */
const MAX_LISTED = 1_000;

export interface FlowTally {
  /** Counts a packet as sent and returns its sequence number. */
  send(now: number): number;
  /** Takes an answer; `received` is the server's count in it. */
  answer(sequence: number, received: number, now: number): void;
  /** Takes the server's count after the last packet was sent. */
  settle(received: number): void;
  counts(): FlowCounts;
  /** When the packets were sent that have no answer (yet), the first of them at most. */
  lostAt(): readonly number[];
  /** The longest time without an answer, from the first packet to the last answer or packet; undefined when nothing was sent. */
  longestGap(): Gap | undefined;
}

export function flowTally(): FlowTally {
  const answers = sequenceSet();
  const sentAt: number[] = [];
  let sent = 0;
  let duplicates = 0;
  // Of the first `known` packets, `arrived` have reached the server.
  let known = 0;
  let arrived = 0;
  let lastSent: number | undefined;
  let quietSince: number | undefined;
  let longest: Gap | undefined;
  const gapUntil = (now: number): Gap | undefined => {
    if (quietSince === undefined || now <= quietSince) return longest;
    const gap = { ms: now - quietSince, from: quietSince, to: now };
    return longest && longest.ms >= gap.ms ? longest : gap;
  };
  return {
    send(now) {
      quietSince ??= now;
      lastSent = now;
      sentAt.push(now);
      return sent++;
    },
    answer(sequence, received, now) {
      longest = gapUntil(now);
      quietSince = now;
      if (!answers.add(sequence)) duplicates++;
      known = Math.max(known, sequence + 1);
      arrived = Math.max(arrived, received);
    },
    settle(received) {
      known = sent;
      arrived = Math.max(arrived, received);
    },
    counts() {
      // What was answered has arrived, even if the server has forgotten it (it was restarted).
      const reached = Math.max(arrived, answers.size);
      // An answer that overtakes another one counts that as arrived: then more packets are known of than its own number says.
      const seen = Math.min(sent, Math.max(known, reached));
      return {
        sent,
        answered: answers.size,
        lostOutbound: seen - reached,
        lostInbound: reached - answers.size,
        unresolved: sent - seen,
        duplicates,
      };
    },
    lostAt: () => sentAt.filter((_, sequence) => !answers.has(sequence)).slice(0, MAX_LISTED),
    longestGap: () => (lastSent === undefined ? undefined : gapUntil(lastSent)),
  };
}
