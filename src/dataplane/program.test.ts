/** Packet in, packet out: a table of what the XDP program itself must do, by BPF_PROG_TEST_RUN, without the model's help. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { formatAddress } from "../model/ipv4.ts";
import { NO_LIMITS } from "../model/nat-behaviour.ts";
import { slotPorts } from "../model/slots.ts";
import { discoverFiltering, discoverMapping } from "./model/discovery.ts";
import {
  behaving,
  COMBINATIONS,
  datagram,
  ENDPOINT,
  EXAMPLE,
  OTHER_ENDPOINT,
  PEER,
  PUBLIC,
  ping,
  REMOTE,
  segment,
  slotOf,
} from "./model/example.ts";
import { SHARE_OF_HELD } from "./model/held-fragments.ts";
import { meaningOf, PAYLOAD_OF_PARTS, partsOf, reassemble } from "./model/reassembly.ts";
import { replyTo } from "./model/scenario.ts";
import type { Counter, Role } from "./model/state.ts";
import { moveSlot, PLAN, planned, type World } from "./model/world.ts";
import { checksumsValid, ETHERNET_BYTES, parsePacket, TCP_FLAG } from "./packet.ts";
import {
  layOutNetwork,
  loadProgram,
  type ProgramRun,
  type ProgramUnderTest,
} from "./testing/program-under-test.ts";
import { enterSandbox } from "./testing/sandbox.ts";

const { syn, ack } = TCP_FLAG;
const STRANGER = planned(PLAN.strangers, 1);
const UNREACHABLE = planned(PLAN.prohibitedRemotes, 1);
const FIRST = slotPorts(slotOf(ENDPOINT).number, EXAMPLE.gateways[0]!.portsPerSlot).first;
/** A source port that lies in the endpoint's slot is kept. */
const KEPT = { sourcePort: FIRST };

/** As large as the session table that is loaded. */
const ROOM = 64;
const WORLD: World = { ...EXAMPLE, maxRecords: ROOM };

let program: ProgramUnderTest;

before(() => {
  const sandbox = enterSandbox();
  layOutNetwork();
  program = loadProgram(sandbox, ROOM);
});

/** Source and destination of a packet as text, and its TTL. */
function ends(frame: Buffer): string {
  const parsed = parsePacket(frame);
  assert.ok(parsed.ok && parsed.packet.transport.kind !== "raw");
  const { ip, transport } = parsed.packet;
  const ports =
    transport.kind === "icmp"
      ? [transport.identifier, transport.type]
      : [transport.sourcePort, transport.destinationPort];
  return `${formatAddress(ip.source)} ${formatAddress(ip.destination)} ${ports.join(" ")} ttl ${ip.ttl}`;
}

interface Row {
  readonly name: string;
  readonly frame: Buffer;
  readonly role?: Role;
  readonly verdict: ProgramRun["verdict"];
  readonly counters: Partial<Record<Counter, number>>;
  /** What leaves; undefined where nothing does. */
  readonly out?: string;
}

const [pub, remote, endpoint] = [PUBLIC, REMOTE, ENDPOINT].map(formatAddress);
const created = { sessions_created: 1, translated_out: 1 };
const cut = (frame: Buffer, length: number) => frame.subarray(0, length);
const changed = (frame: Buffer, at: number, value: number) => {
  const copy = Buffer.from(frame);
  copy.writeUInt8(value, at);
  return copy;
};

const TABLE: readonly Row[] = [
  {
    name: "a TCP connection begins",
    frame: segment(syn, KEPT),
    verdict: "redirect",
    counters: created,
    out: `${pub} ${remote} ${FIRST} 443 ttl 63`,
  },
  {
    name: "a UDP flow begins",
    frame: datagram(KEPT),
    verdict: "redirect",
    counters: created,
    out: `${pub} ${remote} ${FIRST} 443 ttl 63`,
  },
  {
    name: "an echo request",
    frame: ping(FIRST),
    verdict: "redirect",
    counters: created,
    out: `${pub} ${remote} ${FIRST} 8 ttl 63`,
  },
  {
    name: "a remote without a neighbour yet",
    frame: datagram({ ...KEPT, to: planned(PLAN.silentRemotes, 1) }),
    verdict: "kernel",
    counters: created,
    out: `${pub} 198.51.101.1 ${FIRST} 443 ttl 64`,
  },
  {
    name: "a forbidden remote",
    frame: datagram({ to: UNREACHABLE }),
    verdict: "drop",
    counters: { sessions_created: 1, drop_no_route: 1 },
  },
  {
    name: "a sender that is not enrolled",
    frame: datagram({ from: STRANGER }),
    verdict: "kernel",
    counters: {},
    out: `10.9.0.1 ${remote} 5000 443 ttl 64`,
  },
  {
    name: "a packet at the end of its life",
    frame: datagram({ ttl: 1 }),
    verdict: "kernel",
    counters: {},
    out: `${endpoint} ${remote} 5000 443 ttl 1`,
  },
  {
    name: "the middle of an unknown connection",
    frame: segment(ack),
    verdict: "redirect",
    counters: { drop_not_syn: 1, resets_sent: 1 },
    out: `${remote} ${endpoint} 443 5000 ttl 64`,
  },
  {
    name: "an unsolicited packet from outside",
    frame: datagram({ from: REMOTE, to: PUBLIC, destinationPort: FIRST }),
    role: "outside",
    verdict: "drop",
    counters: { drop_no_session: 1 },
  },
  {
    name: "a packet to a port below 1024",
    frame: segment(syn, { from: REMOTE, to: PUBLIC, destinationPort: 22 }),
    role: "outside",
    verdict: "drop",
    counters: { drop_no_session: 1 },
  },
  {
    name: "an echo request from outside",
    frame: ping(FIRST, { from: REMOTE, to: PUBLIC }),
    role: "outside",
    verdict: "drop",
    counters: { drop_unsupported: 1 },
  },
  {
    name: "a fragment",
    frame: changed(datagram(), ETHERNET_BYTES + 6, 0x20),
    verdict: "drop",
    counters: { drop_fragment: 1 },
  },
  {
    name: "a TCP header that is cut off",
    frame: changed(segment(syn), ETHERNET_BYTES + 3, 30),
    verdict: "drop",
    counters: { drop_malformed: 1 },
  },
  {
    name: "an IP packet longer than its frame",
    frame: cut(segment(syn), 50),
    verdict: "drop",
    counters: { drop_malformed: 1 },
  },
  {
    name: "a protocol that is not translated",
    frame: changed(datagram(), ETHERNET_BYTES + 9, 47),
    verdict: "drop",
    counters: { drop_unsupported: 1 },
  },
  { name: "what is not IPv4", frame: changed(datagram(), 13, 0x06), verdict: "kernel", counters: {} },
];

for (const { name, frame, role = "inside", verdict, counters, out } of TABLE) {
  test(`${name}: ${verdict}`, () => {
    program.reset(WORLD, 0);
    const run = program.run(role, frame);
    assert.deepEqual([run.verdict, run.counters], [verdict, counters]);
    if (out !== undefined) assert.equal(ends(run.packet), out);
    if (verdict === "redirect") assert.ok(checksumsValid(run.packet));
  });
}

for (const { mapping, filtering } of COMBINATIONS) {
  test(`${mapping.udp} mapping with ${filtering.udp} filtering is what the program does, for UDP and TCP`, () => {
    program.reset(behaving({ mapping, filtering }, WORLD), 0);
    const exchange = (frame: Buffer, role: Role) => {
      const { verdict, packet } = program.run(role, frame);
      return verdict === "redirect" ? packet : undefined;
    };
    for (const protocol of ["udp", "tcp"] as const) {
      assert.equal(discoverFiltering(exchange, protocol), filtering[protocol]);
      assert.equal(discoverMapping(exchange, protocol), mapping[protocol]);
    }
  });
}

test("a reply comes back to the endpoint, and only from the remote that was asked", () => {
  program.reset(WORLD, 0);
  const reply = replyTo(program.run("inside", segment(syn, KEPT)).packet, syn | ack)!;
  const back = program.run("outside", reply);
  assert.deepEqual([back.verdict, back.counters], ["redirect", { translated_in: 1 }]);
  assert.equal(ends(back.packet), `${remote} ${endpoint} 443 ${FIRST} ttl 59`);
  assert.ok(checksumsValid(back.packet));
  const other = changed(reply, ETHERNET_BYTES + 15, 99);
  assert.deepEqual(program.run("outside", other).counters, { drop_no_session: 1 });
});

test("a packet whose slot another node owns is wrapped for it, 50 bytes longer", () => {
  const moved = moveSlot(WORLD, slotOf(ENDPOINT), 1);
  program.reset(moved, 0);
  const frame = datagram();
  const run = program.run("inside", frame);
  assert.deepEqual([run.verdict, run.counters], ["redirect", { steered_out: 1 }]);
  assert.equal(run.packet.length, frame.length + 50);
  assert.equal(run.packet.readUInt32BE(ETHERNET_BYTES + 16), PEER);
  assert.deepEqual(
    run.packet.subarray(50 + ETHERNET_BYTES),
    frame.subarray(ETHERNET_BYTES),
    "the packet itself is untouched",
  );
});

/** Which of so many new connections of an endpoint go out, by what each is counted as. */
function flood(count: number, from = ENDPOINT): Partial<Record<string, number>> {
  const counts: Partial<Record<string, number>> = {};
  for (let i = 0; i < count; i++) {
    const { counters } = program.run("inside", segment(syn, { from, sourcePort: 20_000 + i }));
    for (const name of Object.keys(counters)) counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test("a flood of one endpoint gets what the limits say, is counted by the limit, and leaves the others alone", () => {
  const limits = { ...NO_LIMITS, sessionsPerEndpoint: 10 };
  program.reset(behaving({ limits }, WORLD), 0);
  assert.deepEqual(flood(50), { sessions_created: 10, translated_out: 10, drop_limit_sessions: 40 });
  assert.deepEqual(flood(5, OTHER_ENDPOINT), { sessions_created: 5, translated_out: 5 });
  assert.equal(program.sweepAt(241_000), 15);
  assert.deepEqual(flood(50), { sessions_created: 10, translated_out: 10, drop_limit_sessions: 40 });
});

test("a full session table refuses new flows, counts them, and evicts nobody", () => {
  program.reset(behaving({ limits: NO_LIMITS }, WORLD), 0);
  const counts = flood(ROOM + 10);
  assert.deepEqual(counts, { sessions_created: ROOM, translated_out: ROOM, drop_table_full: 10 });
  assert.equal(program.sessions().length, ROOM);
  assert.deepEqual(program.run("inside", segment(ack, { sourcePort: 20_000 })).counters, {
    translated_out: 1,
  });
});

test("fragments that come before their first are held within the sender's share, released by it, and given up in time", () => {
  program.reset(WORLD, 0);
  const whole = datagram(KEPT, PAYLOAD_OF_PARTS);
  const lone = (identification: number) => program.run("inside", partsOf(whole, identification)[1]!).counters;
  for (let i = 0; i < SHARE_OF_HELD; i++) assert.deepEqual(lone(i), { fragments_held: 1 });
  assert.deepEqual(lone(SHARE_OF_HELD), { drop_fragment_limit: 1 });
  const [first, , last] = partsOf(whole, 0) as [Buffer, Buffer, Buffer];
  const sent = program.run("inside", first);
  assert.deepEqual([sent.verdict, sent.counters], ["redirect", {}]);
  const again = program.run("again", sent.packet);
  assert.deepEqual(again.counters, { sessions_created: 1, translated_out: 1 });
  const released = program.run("held", sent.packet);
  assert.deepEqual([released.verdict, released.counters], ["redirect", { fragments_released: 1 }]);
  assert.equal(program.run("held", released.packet).verdict, "drop", "no more are held");
  const left = [again, program.run("again", released.packet), program.run("inside", last)];
  const { source, transport } = meaningOf(reassemble(left.map(({ packet }) => packet)));
  assert.equal(source, PUBLIC);
  assert.ok(transport.kind === "udp" && transport.payload.equals(PAYLOAD_OF_PARTS));
  assert.equal(program.sweep(16_000).lostFragments, SHARE_OF_HELD - 1);
  assert.deepEqual(lone(SHARE_OF_HELD), { fragments_held: 1 });
});

test("a second endpoint that wants the same port gets another one", () => {
  program.reset(WORLD, 0);
  const ports = [ENDPOINT, OTHER_ENDPOINT].map((from) =>
    program.run("inside", datagram({ ...KEPT, from })).packet.readUInt16BE(34),
  );
  assert.equal(ports[0], FIRST);
  assert.notEqual(ports[1], FIRST);
});

test("a gateway that logs its sessions has each of them written down when it begins and when it ends, and no other gateway has", () => {
  const logging = WORLD.gateways.map((gateway) => ({ ...gateway, log: "Sessions" as const }));
  program.reset(WORLD, 0);
  program.run("inside", datagram(KEPT));
  assert.deepEqual(program.logged(), []);
  program.reset({ ...WORLD, gateways: logging }, 0);
  program.run("inside", datagram(KEPT));
  program.run("inside", datagram(KEPT));
  const [begun, ...more] = program.logged();
  assert.equal(more.length, 0);
  assert.equal(begun?.event, "begin");
  assert.equal(begun.protocol, "udp");
  assert.deepEqual(begun.inside, { address: formatAddress(ENDPOINT), port: FIRST });
  assert.deepEqual(begun.public, { address: formatAddress(PUBLIC), port: FIRST });
  assert.equal(program.sweepAt(301_000), 1);
  const [ended, ...others] = program.logged();
  assert.equal(others.length, 0);
  assert.deepEqual({ ...ended, age: 0 }, { ...begun, event: "end", age: 0 });
});
