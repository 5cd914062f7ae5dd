/** Packets as tests like to write them: what is not given has a usual value. */
import { buildPacket, ECHO_REQUEST, type Packet, parseIpv4, parsePacket, type Transport } from "../packet.ts";

const NO_BYTES: Buffer = Buffer.alloc(0);

/** A packet as tests and tools like to write it: what is not given has a usual value. */
export interface PacketSketch {
  readonly ethernet?: Partial<Packet["ethernet"]>;
  readonly ip: Partial<Packet["ip"]> & { readonly source: number; readonly destination: number };
  readonly transport: Transport;
  readonly padding?: Buffer;
}

/** Fills a sketch in and writes it. */
export function buildSketch(sketch: PacketSketch): Buffer {
  return buildPacket({
    ethernet: { destination: "02:00:00:00:00:01", source: "02:00:00:00:00:02", ...sketch.ethernet },
    ip: {
      ttl: 64,
      tos: 0,
      identification: 0,
      dontFragment: false,
      moreFragments: false,
      fragmentOffset: 0,
      options: NO_BYTES,
      ...sketch.ip,
    },
    transport: sketch.transport,
    padding: sketch.padding ?? NO_BYTES,
  });
}

type Fields<K extends Transport["kind"]> = Omit<Extract<Transport, { readonly kind: K }>, "kind">;

/** TCP with usual values for what is not given: no data, a window of 65535. */
export function tcp(
  fields: Pick<Fields<"tcp">, "sourcePort" | "destinationPort" | "flags"> & Partial<Fields<"tcp">>,
): Transport {
  return {
    kind: "tcp",
    sequence: 1,
    acknowledgement: 0,
    window: 65535,
    options: NO_BYTES,
    payload: NO_BYTES,
    ...fields,
  };
}

/** UDP with a checksum and no data, unless given. */
export function udp(
  fields: Pick<Fields<"udp">, "sourcePort" | "destinationPort"> & Partial<Fields<"udp">>,
): Transport {
  return { kind: "udp", checksum: true, payload: NO_BYTES, ...fields };
}

/** An ICMP echo request, unless another type is given. */
export function echo(fields: Pick<Fields<"icmp">, "identifier"> & Partial<Fields<"icmp">>): Transport {
  return { kind: "icmp", type: ECHO_REQUEST, code: 0, sequence: 1, payload: NO_BYTES, ...fields };
}

/** From and to (exclusive) which unit of 8 bytes of its payload a packet is in a fragment, and the fragment's identification. */
export interface Part {
  readonly identification: number;
  readonly from: number;
  readonly to: number;
}

/** A fragment of a packet. */
export function partOfPacket(frame: Buffer, { identification, from, to }: Part): Buffer {
  const parsed = parseIpv4(frame);
  const whole = parsePacket(frame);
  if (!parsed.ok || !whole.ok) throw new Error("only an IPv4 packet can be cut");
  const { payloadAt, payloadBytes, protocol } = parsed.ip;
  const [start, end] = [from, to].map((unit) => payloadAt + Math.min(8 * unit, payloadBytes));
  return buildPacket({
    ...whole.packet,
    ip: { ...whole.packet.ip, identification, moreFragments: 8 * to < payloadBytes, fragmentOffset: from },
    transport: { kind: "raw", protocol, payload: frame.subarray(start, end) },
  });
}
