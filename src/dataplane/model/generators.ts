/**
 * fast-check arbitraries for the dataplane's tests: small worlds, packets that mostly mean something in them, and scenarios.
 * Addresses and ports come from small sets, so that flows meet again; slots are small, so that they fill.
 */
import fc from "fast-check";
import type { Allocation } from "../../model/allocation.ts";
import { formatAddress } from "../../model/ipv4.ts";
import { MOVE_PHASES, NOBODY } from "../../model/placement.ts";
import { slotsPerAddress } from "../../model/slots.ts";
import type { ForwardConfig, StaticConfig } from "../../model/static-mappings.ts";
import {
  buildPacket,
  ECHO_REPLY,
  ECHO_REQUEST,
  ICMP_ERRORS,
  type Packet,
  TCP_FLAG,
  type Transport,
} from "../packet.ts";
import { behaviourArbitrary } from "./behaviours.ts";
import { partsArbitrary } from "./fragment-generators.ts";
import { MARKS } from "./moves.ts";
import { cutOffArbitrary, probeArbitrary } from "./probe-arbitraries.ts";
import { type Scenario, type Step, wrapAtPeer } from "./scenario.ts";
import { buildSketch, tcp, udp } from "./sketch.ts";
import type { Role, SlotName } from "./state.ts";
import {
  BUSY_PORT,
  busySlots,
  PLAN,
  planned,
  publicAddresses,
  rolesOf,
  type World,
  type WorldGateway,
  type WorldMove,
} from "./world.ts";

/** Time passes in such steps, on which the timeouts of `behaviourArbitrary` are built. */
const STEP_SECONDS = 10;

/** The sources of each gateway; those of the later ones are parts of the first's, so that the longest prefix must win. */
const SOURCES = [["10.1.0.0/24", "10.2.0.0/24"], ["10.1.0.64/26"], ["10.1.0.128/25"]] as const;
const ENDPOINTS = [
  planned(PLAN.endpoints, 1),
  planned(PLAN.endpoints, 2),
  planned(PLAN.endpoints, 65),
  planned(PLAN.endpoints, 66),
  planned(PLAN.endpoints, 129),
  planned(PLAN.silentEndpoints, 1),
];
const REMOTES = [
  planned(PLAN.remotes, 1),
  planned(PLAN.remotes, 2),
  planned(PLAN.silentRemotes, 1),
  planned(PLAN.prohibitedRemotes, 1),
];

/** An endpoint with an address of its own; forwards on ports inside and outside of slots, and on an address that has nothing else. */
const STATICS: StaticConfig = {
  floatingAddresses: [
    {
      namespace: "default",
      name: "float",
      address: formatAddress(planned(PLAN.publics, 61)),
      inside: formatAddress(ENDPOINTS[3]!),
    },
  ],
  portForwards: [
    forward("range", "tcp", [planned(PLAN.publics, 1), 1020], [ENDPOINTS[0]!, BUSY_PORT], 16),
    forward("name", "udp", [planned(PLAN.publics, 62), 53], [ENDPOINTS[2]!, 53]),
    forward("last", "udp", [planned(PLAN.publics, 1), 65_535], [ENDPOINTS[1]!, 1]),
  ],
};

function forward(
  name: string,
  protocol: ForwardConfig["protocol"],
  [outside, port]: readonly [number, number],
  [inside, insidePort]: readonly [number, number],
  count = 1,
): ForwardConfig {
  const addresses = { address: formatAddress(outside), inside: formatAddress(inside) };
  return { namespace: "default", name, protocol, ...addresses, port, count, insidePort };
}

/** A world of 2 to 4 nodes and 1 to 3 gateways. `maxRecords` and `statics` fix what is otherwise arbitrary. */
export function worldArbitrary(maxRecords?: number, statics?: boolean): fc.Arbitrary<World> {
  const shape = fc.record({
    nodes: fc.integer({ min: 2, max: 4 }),
    silentLast: fc.boolean(),
    gateways: fc.array(gatewayShape, { minLength: 1, maxLength: 3 }),
    maxRecords: maxRecords === undefined ? fc.constantFrom(4, 12, 64, 200) : fc.constant(maxRecords),
    oneInterface: fc.boolean(),
    statics: statics === undefined ? fc.boolean() : fc.constant(statics),
  });
  return shape.map((s) => ({
    nodes: Array.from({ length: s.nodes }, (_, i) => ({
      name: `node-${i}`,
      address: planned(s.silentLast && i === s.nodes - 1 ? PLAN.silentNodes : PLAN.nodes, i + 1),
    })),
    gateways: s.gateways.map((gateway, i) => makeGateway(gateway, i, s.nodes)),
    maxRecords: s.maxRecords,
    ...(s.statics ? { statics: STATICS } : {}),
    endpoints: ENDPOINTS,
    remotes: REMOTES,
    oneInterface: s.oneInterface,
  }));
}

/** The blocks divide all sizes of slots that the worlds have. */
const ALLOCATIONS: readonly Allocation[] = [
  { method: "Hashed", spread: "Endpoint" },
  { method: "Hashed", spread: "Flow" },
  { method: "Deterministic", portsPerEndpoint: 16 },
  { method: "Deterministic", portsPerEndpoint: 64 },
];

const gatewayShape = fc.record({
  addresses: fc.integer({ min: 1, max: 3 }),
  portsPerSlot: fc.constantFrom(64, 64, 64, 1024, 64_512),
  allocation: fc.constantFrom(ALLOCATIONS[0]!, ...ALLOCATIONS),
  /** Slot i belongs to node (i × stride + offset) modulo one more than there are nodes; that one is nobody. */
  stride: fc.integer({ min: 1, max: 7 }),
  offset: fc.nat(10),
  nobody: fc.boolean(),
  behaviour: behaviourArbitrary(),
});

type GatewayShape = typeof gatewayShape extends fc.Arbitrary<infer Shape> ? Shape : never;

function makeGateway(shape: GatewayShape, index: number, nodes: number): WorldGateway {
  const { portsPerSlot, stride, offset, nobody } = shape;
  const ownerOf = (address: number, slot: number) => {
    const owner = (slot * stride + address + offset) % (nodes + (nobody ? 1 : 0));
    return owner === nodes ? NOBODY : owner;
  };
  return {
    id: `gateway-${index}`,
    sources: SOURCES[index]!,
    addresses: Array.from({ length: shape.addresses }, (_, i) => planned(PLAN.publics, 16 * index + i + 1)),
    portsPerSlot,
    allocation: shape.allocation,
    behaviour: shape.behaviour,
    owners: Array.from({ length: shape.addresses }, (_, address) =>
      Array.from({ length: slotsPerAddress(portsPerSlot) }, (_, slot) => ownerOf(address, slot)),
    ),
  };
}

const anyPort = fc.integer({ min: 0, max: 65535 });
const port = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 53, 1020, 1024, 1025, BUSY_PORT, 65_535) },
  anyPort,
);
const { syn, ack, fin, rst, psh } = TCP_FLAG;
const tcpFlags = fc.oneof(
  { weight: 6, arbitrary: fc.constant(syn) },
  { weight: 6, arbitrary: fc.constantFrom(ack, ack | psh, ack | fin, rst, syn | ack) },
  fc.integer({ min: 0, max: 255 }),
);
const payload = fc
  .oneof(
    { weight: 20, arbitrary: fc.nat(40) },
    { weight: 1, arbitrary: fc.integer({ min: 1400, max: 1500 }) },
  )
  .chain((length) => fc.nat(255).map((fill) => Buffer.alloc(length, fill)));

/** An MSS at an even place, at an odd one, behind others, and options that are none. */
const tcpOptions = fc
  .constantFrom(
    "",
    "020405b4",
    "0101020405b40100",
    "0103030702042000",
    "0802020405b40000",
    "02040200",
    "00020405b4000000",
  )
  .map((hex) => Buffer.from(hex, "hex"));

function transportArbitrary(echoType: number): fc.Arbitrary<Transport> {
  const segment = fc.record({
    kind: fc.constant("tcp" as const),
    sourcePort: port,
    destinationPort: port,
    sequence: fc.nat(),
    acknowledgement: fc.nat(),
    flags: tcpFlags,
    window: anyPort,
    options: tcpOptions,
    payload,
  });
  const datagram = fc.record({
    kind: fc.constant("udp" as const),
    sourcePort: port,
    destinationPort: port,
    checksum: fc.boolean(),
    payload,
  });
  const echo = fc.record({
    kind: fc.constant("icmp" as const),
    type: fc.oneof(
      { weight: 8, arbitrary: fc.constant(echoType) },
      fc.constantFrom(ECHO_REQUEST, ECHO_REPLY, 3, 11, 13),
    ),
    code: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.nat(255)),
    identifier: port,
    sequence: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: anyPort }),
    payload,
  });
  const raw = fc.record({
    kind: fc.constant("raw" as const),
    protocol: fc.constantFrom(6, 17, 47, 132),
    payload,
  });
  return fc.oneof(
    { weight: 8, arbitrary: segment },
    { weight: 8, arbitrary: datagram },
    { weight: 4, arbitrary: echo },
    { weight: 1, arbitrary: raw },
  );
}

function packetBetween(
  source: fc.Arbitrary<number>,
  destination: fc.Arbitrary<number>,
  echoType: number,
): fc.Arbitrary<Packet> {
  const usually = <T>(value: T, other: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 15, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: other });
  return fc.record({
    ethernet: fc.constant({ destination: "02:00:00:00:00:0a", source: "02:00:00:00:00:0c" }),
    ip: fc.record({
      source,
      destination,
      ttl: usually(64, fc.constantFrom(0, 1, 2, 255)),
      tos: usually(0, fc.nat(255)),
      identification: anyPort,
      dontFragment: fc.boolean(),
      moreFragments: usually(false, fc.constant(true)),
      fragmentOffset: usually(0, fc.constantFrom(1, 185, 8191)),
      options: usually(Buffer.alloc(0), fc.constantFrom(Buffer.alloc(4, 1), Buffer.alloc(40, 1))),
    }),
    transport: transportArbitrary(echoType),
    padding: usually(
      Buffer.alloc(0),
      fc.nat(20).map((n) => Buffer.alloc(n, 0xee)),
    ),
  });
}

/** A packet as an endpoint sends it. Sometimes the sender is not enrolled, or the remote is one of ours. */
export function outboundArbitrary(world: World): fc.Arbitrary<Buffer> {
  const source = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...world.endpoints) },
    fc.constantFrom(planned(PLAN.strangers, 1), world.nodes[0]!.address),
  );
  const ours = [...publicAddresses(world), ...world.nodes.map((n) => n.address), ...world.endpoints, 0];
  const destination = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...world.remotes) },
    { weight: 3, arbitrary: fc.constantFrom(...publicAddresses(world)) },
    fc.constantFrom(...ours),
  );
  return packetBetween(source, destination, ECHO_REQUEST).map(buildPacket);
}

/** A packet as somebody outside sends it unasked. */
export function inboundArbitrary(world: World): fc.Arbitrary<Buffer> {
  const source = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...world.remotes) },
    fc.constantFrom(0, ...world.endpoints),
  );
  const destination = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...publicAddresses(world)) },
    fc.constantFrom(...world.nodes.map((n) => n.address), planned(PLAN.strangers, 1)),
  );
  return packetBetween(source, destination, ECHO_REPLY).map(buildPacket);
}

/** A packet that a peer has wrapped for the node, whether the node owns it or not. */
export function wrappedArbitrary(world: World, node: number): fc.Arbitrary<Buffer> {
  const peer = fc.nat(world.nodes.length - 2);
  const out = fc.tuple(outboundArbitrary(world), fc.constant("outbound" as const), peer);
  const back = fc.tuple(inboundArbitrary(world), fc.constant("inbound" as const), peer);
  const mark = fc.oneof(
    { weight: 2, arbitrary: fc.constant("steered" as const) },
    fc.constantFrom(...MARKS.slice(1), "meeting" as const),
  );
  return fc
    .tuple(fc.oneof({ weight: 3, arbitrary: out }, { weight: 1, arbitrary: back }), mark)
    .map(([[frame, direction, from], m]) => wrapAtPeer(world, node, from, frame, direction, m) ?? frame);
}

/** Damage: bytes of the headers that are overwritten, and an end that is cut off. At least an Ethernet header is left. */
function damaged(frames: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const overwritten = fc.array(fc.tuple(fc.nat(99), fc.nat(255)), { maxLength: 2 });
  const cut = fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, fc.nat(120));
  return fc.tuple(frames, overwritten, cut).map(([frame, changes, length]) => {
    const copy = Buffer.from(frame);
    for (const [at, value] of changes) if (at < copy.length) copy.writeUInt8(value, at);
    return length === undefined ? copy : copy.subarray(0, Math.max(14, length));
  });
}

export interface RolePacket {
  readonly role: Role;
  readonly frame: Buffer;
}

/** A packet that comes to the node: mostly one that means something, at the interface where it belongs. */
export function packetArbitrary(world: World, node: number): fc.Arbitrary<RolePacket> {
  const roles = rolesOf(world);
  const [first, last] = [roles[0]!, roles.at(-1)!];
  const good = fc.oneof(
    { weight: 10, arbitrary: fc.record({ role: fc.constant(first), frame: outboundArbitrary(world) }) },
    { weight: 3, arbitrary: fc.record({ role: fc.constant(last), frame: inboundArbitrary(world) }) },
    { weight: 4, arbitrary: fc.record({ role: fc.constant(first), frame: wrappedArbitrary(world, node) }) },
    { weight: 1, arbitrary: fc.record({ role: fc.constant(first), frame: probeArbitrary(world, node) }) },
  );
  const anyFrame = fc.oneof(
    outboundArbitrary(world),
    inboundArbitrary(world),
    wrappedArbitrary(world, node),
    probeArbitrary(world, node),
  );
  const bad = fc.record({ role: fc.constantFrom(...roles), frame: damaged(anyFrame) });
  return fc.oneof({ weight: 8, arbitrary: good }, { weight: 1, arbitrary: bad });
}

function stepArbitrary(world: World, node: number): fc.Arbitrary<Step> {
  const packet = packetArbitrary(world, node).map((p): Step => ({ kind: "packet", ...p }));
  const reply = fc.record({
    kind: fc.constant("reply" as const),
    about: fc.oneof(
      { weight: 3, arbitrary: fc.constant("sent" as const) },
      { weight: 1, arbitrary: fc.constant("delivered" as const) },
    ),
    to: fc.nat(50),
    from: fc.option(fc.record({ address: fc.constantFrom(...world.remotes), port }, { requiredKeys: [] }), {
      nil: undefined,
      freq: 1,
    }),
    tcpFlags: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(syn | ack, ack) }, tcpFlags),
    wrappedBy: fc.option(fc.nat(3), { nil: undefined, freq: 3 }),
  });
  const error = fc.record({
    kind: fc.constant("error" as const),
    about: fc.constantFrom("sent" as const, "delivered" as const),
    to: fc.nat(50),
    type: fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...ICMP_ERRORS) }, fc.constantFrom(4, 5)),
    code: fc.nat(15),
    quote: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(28, 46, 1500) }, fc.nat(80)),
    router: fc.option(fc.constantFrom(planned(PLAN.strangers, 1), planned(PLAN.remotes, 9)), {
      nil: undefined,
    }),
    wrappedBy: fc.option(fc.nat(3), { nil: undefined, freq: 3 }),
  });
  const time = fc
    .integer({ min: 1, max: 13 })
    .map((steps): Step => ({ kind: "advance", milliseconds: steps * STEP_SECONDS * 1000 }));
  const owner = fc.integer({ min: NOBODY, max: world.nodes.length - 1 });
  const slots = busySlots(world);
  const anyNode = fc.nat(world.nodes.length - 1);
  const move = fc.record({
    slot: fc.constantFrom(...slots),
    owner: fc.oneof({ weight: 2, arbitrary: fc.constant(node) }, owner),
    move: fc.option(
      fc.record({
        from: fc.oneof({ weight: 2, arbitrary: fc.constant(node) }, anyNode),
        phase: fc.constantFrom(...MOVE_PHASES),
      }),
      { nil: undefined, freq: 2 },
    ),
  });
  const deaths = fc.uniqueArray(anyNode, { maxLength: 2 });
  return fc.oneof(
    { weight: 20, arbitrary: packet },
    { weight: 8, arbitrary: reply },
    { weight: 6, arbitrary: error },
    { weight: 2, arbitrary: time },
    { weight: 3, arbitrary: move.map(moveStep) },
    { weight: 1, arbitrary: deaths.map((dead): Step => ({ kind: "deaths", dead })) },
    { weight: 1, arbitrary: fc.constant<Step>({ kind: "confirm" }) },
  );
}

/** A node never takes a slot over from itself. */
function moveStep(moved: { slot: SlotName; owner: number; move: WorldMove | undefined }): Step {
  const { slot, owner, move } = moved;
  return { kind: "move", slot, owner, ...(move && move.from !== owner ? { move } : {}) };
}

/** One endpoint opens more flows to one remote than a small slot has ports. */
function burstArbitrary(world: World, node: number): fc.Arbitrary<readonly Step[]> {
  const [source, destination] = [world.endpoints[0]!, world.remotes[0]!];
  const role = rolesOf(world)[0]!;
  const mine: Step = { kind: "move", slot: busySlots(world)[0]!, owner: node };
  return fc.record({ datagrams: fc.boolean(), from: fc.integer({ min: 0, max: 65_000 }) }).map((burst) => {
    const packets = Array.from({ length: 66 }, (_, i): Step => {
      const ports = { sourcePort: burst.from + i, destinationPort: 443 };
      const transport = burst.datagrams ? udp(ports) : tcp({ ...ports, flags: syn });
      return { kind: "packet", role, frame: buildSketch({ ip: { source, destination }, transport }) };
    });
    return [mine, ...packets];
  });
}

/** Steps that belong together: mostly one. */
function stepsArbitrary(world: World, node: number): fc.Arbitrary<readonly Step[]> {
  return fc.oneof(
    { weight: 30, arbitrary: stepArbitrary(world, node).map((one) => [one]) },
    { weight: 2, arbitrary: partsArbitrary(world, node) },
  );
}

/**
 * A scenario of up to `maxSteps` steps, at a node to which the endpoints' slots mostly belong. Some begin with a burst of 66 more.
 */
export function scenarioArbitrary(maxSteps = 60, maxRecords?: number): fc.Arbitrary<Scenario> {
  return worldArbitrary(maxRecords).chain((world) =>
    fc.nat(world.nodes.length - 1).chain((node) =>
      fc
        .record({
          taken: fc.subarray([...busySlots(world)]),
          burst: fc.oneof(
            { weight: 6, arbitrary: fc.constant<readonly Step[]>([]) },
            { weight: 1, arbitrary: burstArbitrary(world, node) },
          ),
          cutOff: fc.oneof(
            { weight: 6, arbitrary: fc.constant<readonly Step[]>([]) },
            { weight: 1, arbitrary: cutOffArbitrary(world, node) },
          ),
          steps: fc.array(stepsArbitrary(world, node), { minLength: 1, maxLength: maxSteps, size: "max" }),
        })
        .map(({ taken, burst, cutOff, steps }) => {
          const moves = taken.map((slot): Step => ({ kind: "move", slot, owner: node }));
          return { world, node, steps: [...moves, ...cutOff, ...burst, ...steps.flat()] };
        }),
    ),
  );
}
