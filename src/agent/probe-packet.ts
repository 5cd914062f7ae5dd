/**
 * The payload of a probe: a VXLAN header (RFC 7348: flags 0x08, VNI 0xffffff), then 8 bytes by which the prober knows
 * its own: a number of its run and a sequence number, both unsigned 32-bit. The dataplane sends it back unchanged.
 */

export const PROBE_BYTES = 16;

const VXLAN_HEADER = Buffer.from([0x08, 0, 0, 0, 0xff, 0xff, 0xff, 0]);

export interface Probe {
  readonly run: number;
  readonly sequence: number;
}

export function encodeProbe(probe: Probe): Buffer {
  const packet = Buffer.alloc(PROBE_BYTES);
  VXLAN_HEADER.copy(packet);
  packet.writeUInt32BE(probe.run, 8);
  packet.writeUInt32BE(probe.sequence, 12);
  return packet;
}

/** Undefined for anything that is not a probe. */
export function decodeProbe(packet: Buffer): Probe | undefined {
  if (packet.length !== PROBE_BYTES || !packet.subarray(0, 8).equals(VXLAN_HEADER)) return undefined;
  return { run: packet.readUInt32BE(8), sequence: packet.readUInt32BE(12) };
}
