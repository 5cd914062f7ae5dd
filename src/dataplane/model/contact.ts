/** Whether the node was out of its peers' reach, told from their probes (docs/dataplane.md, "Standing down"). */

/** No slot is moved for a silence that is shorter. Milliseconds. */
export const CUT_OFF_MS = 2000;
/** How many probes in a row must have been lost. */
export const CUT_OFF_PROBES = 5;
/** Behind the VXLAN header of a probe that tells something: run and sequence number. */
const PROBE_CONTENT_BYTES = 8;

interface Heard {
  readonly run: number;
  readonly sequence: number;
  readonly at: number;
}

export interface Contact {
  /** When any peer was heard last. */
  readonly heardAt: number | undefined;
  /** The peer that was heard first after a silence of all, while no other has been. */
  readonly witness: number | undefined;
  /** Peer address → its last probe. */
  readonly peers: ReadonlyMap<number, Heard>;
  /** Until the agent takes it back. */
  readonly standsDown: boolean;
}

export const NO_CONTACT: Contact = {
  heardAt: undefined,
  witness: undefined,
  peers: new Map(),
  standsDown: false,
};

/**
 * A peer's probe has come, with this behind its VXLAN header. A peer that went on counting has tried all the time to reach this node; one that
 * has just begun, or was held up itself, says nothing. It takes two of them, since one may have been cut off itself.
 */
export function noteProbe(contact: Contact, peer: number, content: Buffer, now: number): Contact {
  if (content.length < PROBE_CONTENT_BYTES) return contact;
  const probe = { run: content.readUInt32BE(0), sequence: content.readUInt32BE(4), at: now };
  const known = { ...contact, heardAt: now, peers: new Map(contact.peers).set(peer, probe) };
  const wasSilent = contact.heardAt === undefined || now - contact.heardAt >= CUT_OFF_MS;
  const isOther = contact.witness !== peer;
  if (hasTried(contact.peers.get(peer), probe)) {
    if (wasSilent) return { ...known, witness: peer };
    if (contact.witness !== undefined && isOther) return { ...known, witness: undefined, standsDown: true };
  }
  return isOther ? { ...known, witness: undefined } : known;
}

function hasTried(before: Heard | undefined, { run, sequence, at }: Heard): boolean {
  if (before?.run !== run || at - before.at < CUT_OFF_MS) return false;
  const passed = (sequence - before.sequence) >>> 0;
  return passed >= CUT_OFF_PROBES && (passed - CUT_OFF_PROBES) >>> 0 < 2 ** 31;
}
