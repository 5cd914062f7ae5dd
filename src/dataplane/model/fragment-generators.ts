/** fast-check arbitraries for fragmented packets: their parts come in any order, and not always all of them. */
import fc from "fast-check";
import { TCP_FLAG } from "../packet.ts";
import { MARKS } from "./moves.ts";
import { type Step, UNITS_OF_PARTS, wrapAtPeer } from "./scenario.ts";
import { buildSketch, echo, type Part, partOfPacket, tcp, udp } from "./sketch.ts";
import { BUSY_PORT, publicAddresses, rolesOf, type World } from "./world.ts";

const { syn, ack } = TCP_FLAG;

const SPANS: readonly (readonly [number, number])[] = [
  [0, 3],
  [3, 4],
  [4, 7],
  [7, UNITS_OF_PARTS],
];

/** Parts of a datagram of `UNITS_OF_PARTS`, in any order; some are missing, come twice or overlap. */
const parts: fc.Arbitrary<readonly Part[]> = fc
  .record({
    identification: fc.constantFrom(0, 1, 0x4e41),
    spans: fc.oneof(
      { weight: 3, arbitrary: fc.shuffledSubarray([...SPANS], { minLength: 1 }) },
      { weight: 1, arbitrary: fc.constant(SPANS) },
    ),
    more: fc.array(fc.tuple(fc.nat(UNITS_OF_PARTS), fc.nat(UNITS_OF_PARTS + 2)), { maxLength: 1 }),
  })
  .map(({ identification, spans, more }) =>
    [...spans, ...more].map(([from, to]) => ({ identification, from, to: Math.max(from, to) })),
  );

/** A fragmented packet of an endpoint as it comes to the node, directly or by way of a peer; or a fragmented answer to one before. */
export function partsArbitrary(world: World, node: number): fc.Arbitrary<readonly Step[]> {
  const ports = { sourcePort: BUSY_PORT, destinationPort: 53 };
  const bytes = (header: number) => ({ payload: Buffer.alloc(8 * UNITS_OF_PARTS - header, 7) });
  const transports = [
    udp({ ...ports, ...bytes(8) }),
    tcp({ ...ports, flags: syn, ...bytes(20) }),
    echo({ identifier: BUSY_PORT, ...bytes(8) }),
  ];
  const role = rolesOf(world)[0]!;
  const sent = fc.record({
    source: fc.constantFrom(...world.endpoints),
    destination: fc.constantFrom(...world.remotes, ...publicAddresses(world).slice(0, 1)),
    transport: fc.constantFrom(...transports),
    parts,
    wrappedBy: fc.option(fc.nat(3), { nil: undefined, freq: 1 }),
    mark: fc.constantFrom("meeting" as const, ...MARKS.slice(1)),
  });
  const out = sent.map(({ source, destination, transport, wrappedBy, mark, ...rest }) =>
    rest.parts.map((part): Step => {
      const frame = partOfPacket(buildSketch({ ip: { source, destination }, transport }), part);
      const wrapped =
        wrappedBy === undefined ? undefined : wrapAtPeer(world, node, wrappedBy, frame, "outbound", mark);
      return { kind: "packet", role, frame: wrapped ?? frame };
    }),
  );
  const back = fc.record({
    to: fc.nat(50),
    parts,
    tcpFlags: fc.constantFrom(ack, syn | ack),
    wrappedBy: fc.option(fc.nat(3), { nil: undefined, freq: 2 }),
  });
  const answers = back.map(({ parts: all, ...rest }) =>
    all.map((part): Step => ({ kind: "reply", about: "sent", from: undefined, part, ...rest })),
  );
  return fc.oneof({ weight: 2, arbitrary: out }, { weight: 1, arbitrary: answers });
}
