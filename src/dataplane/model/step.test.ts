import assert from "node:assert/strict";
import { test } from "node:test";
import { slotPorts } from "../../model/slots.ts";
import { checksumsValid, parsePacket, TCP_FLAG, type Transport } from "../packet.ts";
import {
  datagram,
  ENDPOINT,
  EXAMPLE,
  NODE,
  newBench,
  OTHER_ENDPOINT,
  OTHER_REMOTE,
  PEER,
  PUBLIC,
  ping,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import type { Outcome } from "./outcome.ts";
import { replyTo } from "./scenario.ts";
import { buildSketch, tcp, udp } from "./sketch.ts";
import { mappingsOf, sessionsOf } from "./state.ts";
import { INTERFACE, MAC, PLAN, planned } from "./world.ts";

const { syn, ack, fin, rst } = TCP_FLAG;

function parsed(outcome: Outcome) {
  assert.ok(outcome.packet, `dropped: ${outcome.counters}`);
  const result = parsePacket(outcome.packet);
  assert.ok(result.ok);
  return result.packet;
}

/** The port or identifier with which an outbound packet left. */
function publicPort(outcome: Outcome): number {
  const { transport } = parsed(outcome);
  assert.notEqual(transport.kind, "raw");
  if (transport.kind === "raw") return 0;
  return transport.kind === "icmp" ? transport.identifier : transport.sourcePort;
}

function assertDrop(outcome: Outcome, counter: string): void {
  assert.deepEqual([outcome.verdict, outcome.counters], [{ kind: "drop", counter }, [counter]]);
}

test("a TCP connection opens, transfers and closes through the NAT, both ways", () => {
  const node = newBench();
  const out = node.receive(segment(syn));
  assert.deepEqual(out.verdict, { kind: "redirect", ifindex: INTERFACE.outside });
  assert.deepEqual(out.counters, ["sessions_created", "translated_out"]);
  const left = parsed(out);
  assert.deepEqual(left.ethernet, { destination: MAC.gateway, source: MAC.node });
  assert.deepEqual([left.ip.source, left.ip.destination, left.ip.ttl], [PUBLIC, REMOTE, 63]);
  assert.ok(checksumsValid(out.packet!));

  const back = node.receive(replyTo(out.packet!, syn | ack)!, "outside");
  assert.deepEqual(back.counters, ["translated_in"]);
  const arrived = parsed(back);
  assert.deepEqual([arrived.ip.source, arrived.ip.destination, arrived.ip.ttl], [REMOTE, ENDPOINT, 59]);
  assert.ok(arrived.transport.kind === "tcp" && arrived.transport.destinationPort === 5000);

  assert.deepEqual(node.receive(segment(ack | fin)).counters, ["translated_out"]);
  node.receive(replyTo(out.packet!, ack | fin)!, "outside");
  const [session] = sessionsOf(node.state());
  assert.deepEqual([session?.outbound.fin, session?.inbound.fin], [true, true]);
});

test("a SYN on a connection that was reset or closed on both sides begins it anew on the same port", () => {
  for (const [ours, theirs] of [
    [ack, rst],
    [rst, ack],
    [ack | fin, ack | fin],
  ] as const) {
    const node = newBench();
    const first = node.receive(segment(syn));
    node.receive(segment(ours));
    node.receive(replyTo(first.packet!, theirs)!, "outside");
    const again = node.receive(segment(syn));
    assert.deepEqual(again.counters, ["translated_out"]);
    assert.equal(publicPort(again), publicPort(first));
    const [session] = sessionsOf(node.state());
    const bare = { syn: false, fin: false, rst: false };
    assert.deepEqual(session?.outbound, { ...bare, at: 0, syn: true });
    assert.deepEqual(session?.inbound, { ...bare, at: 0 });
  }
});

test("a remote's SYN on a connection that is over begins it anew as well", () => {
  const node = newBench();
  const out = node.receive(segment(syn)).packet!;
  node.receive(segment(rst));
  node.receive(replyTo(out, syn)!, "outside");
  const [session] = sessionsOf(node.state());
  assert.deepEqual(
    [session?.outbound.rst, session?.outbound.syn, session?.inbound.syn],
    [false, false, true],
  );
});

test("a SYN on a connection that only one side has closed changes nothing", () => {
  const node = newBench();
  node.receive(segment(syn));
  node.receive(segment(ack | fin));
  node.receive(segment(syn));
  assert.equal(sessionsOf(node.state())[0]?.outbound.fin, true);
});

test("only a bare SYN opens a TCP connection", () => {
  for (const flags of [0, ack, fin, rst, syn | ack, syn | fin, syn | rst]) {
    const node = newBench();
    assert.ok(node.receive(segment(flags)).counters.includes("drop_not_syn"));
    assert.deepEqual(sessionsOf(node.state()), []);
  }
  assert.equal(newBench().receive(segment(syn | TCP_FLAG.psh)).verdict.kind, "redirect");
});

test("a source port in the endpoint's slot is kept while it is free, and another one is taken when it is not", () => {
  const { first, last } = slotPorts(slotOf(ENDPOINT).number, 64);
  const node = newBench();
  assert.equal(publicPort(node.receive(datagram({ sourcePort: last }))), last);
  const other = publicPort(node.receive(datagram({ sourcePort: last - 64 })));
  assert.ok(other >= first && other < last);
  assert.equal(publicPort(node.receive(segment(syn, { sourcePort: last }))), last);
});

test("one TCP port serves many remotes, and a second endpoint with the same remote gets another", () => {
  const { first, last } = slotPorts(slotOf(ENDPOINT).number, 64);
  const node = newBench();
  const at = { sourcePort: first };
  assert.equal(publicPort(node.receive(segment(syn, at))), first);
  assert.equal(
    publicPort(node.receive(segment(syn, { ...at, sourcePort: first + 64, to: OTHER_REMOTE }))),
    first,
  );
  const other = publicPort(node.receive(segment(syn, { ...at, sourcePort: first + 64 })));
  assert.ok(other > first && other <= last);
});

test("a UDP endpoint has one public port whatever the remote (RFC 4787 REQ-1), and nobody else has it", () => {
  const node = newBench();
  const port = publicPort(node.receive(datagram()));
  assert.equal(publicPort(node.receive(datagram({ to: OTHER_REMOTE }))), port);
  assert.equal(publicPort(node.receive(datagram({ destinationPort: 53 }))), port);
  assert.notEqual(publicPort(node.receive(datagram({ sourcePort: 5064, to: OTHER_REMOTE }))), port);
  assert.equal(mappingsOf(node.state()).length, 2);
});

test("a slot is used to its last port, then new flows are dropped while the known ones go on", () => {
  for (const packet of [
    (sourcePort: number) => datagram({ sourcePort }),
    (sourcePort: number) => segment(syn, { sourcePort }),
    (sourcePort: number) => ping(sourcePort),
  ]) {
    const node = newBench();
    const ports = Array.from({ length: 64 }, (_, i) => publicPort(node.receive(packet(7000 + 64 * i))));
    const { first } = slotPorts(slotOf(ENDPOINT).number, 64);
    assert.deepEqual(
      ports.sort((a, b) => a - b),
      Array.from({ length: 64 }, (_, i) => first + i),
    );
    assertDrop(node.receive(packet(6999)), "drop_no_port");
    assert.deepEqual(node.receive(packet(7000)).counters, ["translated_out"]);
  }
});

test("a full table refuses new flows and evicts nobody; UDP needs a record more for its mapping, and one for each remote's permission", () => {
  const node = newBench({ ...EXAMPLE, maxRecords: 4 });
  node.receive(datagram());
  assertDrop(node.receive(datagram({ sourcePort: 5001 })), "drop_table_full");
  assertDrop(node.receive(datagram({ to: OTHER_REMOTE })), "drop_table_full");
  assert.equal(node.receive(datagram({ destinationPort: 444 })).verdict.kind, "redirect");
  assertDrop(node.receive(segment(syn)), "drop_table_full");
  assert.deepEqual(node.receive(datagram()).counters, ["translated_out"]);
});

test("what comes from outside reaches an endpoint only from an address that it has spoken to", () => {
  const node = newBench();
  const out = node.receive(datagram());
  const [port, destinationPort] = [443, publicPort(out)];
  const from = (remote: number, sourcePort: number) =>
    node.receive(datagram({ from: remote, sourcePort, to: PUBLIC, destinationPort }), "outside");
  assert.deepEqual(from(REMOTE, port).counters, ["translated_in"]);
  assertDrop(from(OTHER_REMOTE, port), "drop_no_session");
  assert.deepEqual(from(REMOTE, 444).counters, ["translated_in"]);
  assertDrop(from(0, 0), "drop_no_session");
  assertDrop(
    node.receive(datagram({ from: REMOTE, to: PUBLIC, destinationPort: 1023 }), "outside"),
    "drop_no_session",
  );
});

test("a ping goes out with another identifier and its answer comes back with its own", () => {
  const node = newBench();
  const out = node.receive(ping(7));
  const back = node.receive(replyTo(out.packet!, 0)!, "outside");
  const { transport, ip } = parsed(back);
  assert.deepEqual([transport.kind === "icmp" && transport.identifier, ip.destination], [7, ENDPOINT]);
  assert.ok(checksumsValid(out.packet!) && checksumsValid(back.packet!));
});

test("an echo reply from inside is unsupported even when its identifier is that of a known ping", () => {
  const node = newBench();
  node.receive(ping(0));
  assertDrop(node.receive(ping(0, {}, 0)), "drop_unsupported");
});

test("ICMP other than echo, and other protocols, are dropped and never forwarded as they are", () => {
  const icmp = (type: number, code: number): Transport => ({
    kind: "icmp",
    type,
    code,
    identifier: 1,
    sequence: 1,
    payload: Buffer.alloc(0),
  });
  const gre: Transport = { kind: "raw", protocol: 47, payload: Buffer.alloc(8) };
  const [out, back] = [
    { source: ENDPOINT, destination: REMOTE },
    { source: REMOTE, destination: PUBLIC },
  ];
  for (const transport of [icmp(3, 1), icmp(11, 0), icmp(13, 0), icmp(8, 1), gre]) {
    assertDrop(newBench().receive(buildSketch({ ip: out, transport })), "drop_unsupported");
    assertDrop(newBench().receive(buildSketch({ ip: back, transport }), "outside"), "drop_unsupported");
  }
});

test("a packet that is cut off is never forwarded, wherever it is cut", () => {
  for (const frame of [segment(syn), datagram(), ping(1)]) {
    for (let length = 0; length < frame.length; length++) {
      const outcome = newBench().receive(frame.subarray(0, length));
      if (length < 14) assert.deepEqual(outcome.verdict, { kind: "kernel" });
      else assertDrop(outcome, "drop_malformed");
    }
  }
});

test("a transport header that does not fit into the IP packet is malformed, though the frame goes on", () => {
  for (const [frame, least] of [
    [segment(syn), 20],
    [datagram(), 8],
    [ping(1), 8],
  ] as const) {
    for (let bytes = 0; bytes <= least; bytes++) {
      const short = Buffer.concat([frame, Buffer.alloc(20)]);
      short.writeUInt16BE(20 + bytes, 16);
      const outcome = newBench().receive(short);
      if (bytes < least) assertDrop(outcome, "drop_malformed");
      else assert.equal(outcome.verdict.kind, "redirect");
    }
  }
});

test("what is not ours goes to the kernel untouched", () => {
  const arp = Buffer.alloc(60);
  arp.writeUInt16BE(0x0806, 12);
  const stranger = segment(syn, { from: planned(PLAN.strangers, 1) });
  for (const frame of [arp, stranger]) {
    const { verdict, packet, counters, state } = newBench().receive(frame);
    assert.deepEqual([verdict, packet, counters, state.records.size], [{ kind: "kernel" }, frame, [], 0]);
  }
  const toNode = segment(syn, { from: REMOTE, to: NODE });
  assert.deepEqual(newBench().receive(toNode, "outside").verdict, { kind: "kernel" });
  assert.deepEqual(newBench().receive(toNode, "both").verdict, { kind: "kernel" });
});

test("an interface for both directions tells them by the destination", () => {
  const node = newBench();
  const out = node.receive(segment(syn), "both");
  assert.deepEqual(node.receive(replyTo(out.packet!, syn | ack)!, "both").counters, ["translated_in"]);
});

test("what looks like an answer but comes from inside is not ours", () => {
  const node = newBench();
  const out = node.receive(segment(syn));
  const answer = replyTo(out.packet!, syn | ack)!;
  assert.deepEqual(node.receive(answer, "inside").verdict, { kind: "kernel" });
});

test("an established packet at the end of its TTL goes to the kernel and keeps nothing alive", () => {
  const node = newBench();
  node.receive(segment(syn));
  const frame = segment(ack | fin, { ttl: 1 });
  const { verdict, packet } = node.receive(frame);
  assert.deepEqual([verdict, packet], [{ kind: "kernel" }, frame]);
  assert.equal(sessionsOf(node.state())[0]?.outbound.fin, false);
});

test("a packet at the end of its TTL goes to the kernel as it is and opens nothing", () => {
  for (const ttl of [0, 1]) {
    const node = newBench();
    const frame = segment(syn, { ttl });
    const { verdict, packet } = node.receive(frame);
    assert.deepEqual([verdict, packet, sessionsOf(node.state()).length], [{ kind: "kernel" }, frame, 0]);
  }
  assert.equal(parsed(newBench().receive(segment(syn, { ttl: 2 }))).ip.ttl, 1);
});

test("without a neighbour, or to the node itself, the translated packet goes to the kernel with its TTL", () => {
  for (const to of [planned(PLAN.silentRemotes, 1), NODE]) {
    const outcome = newBench().receive(segment(syn, { to }));
    assert.deepEqual(outcome.verdict, { kind: "kernel" });
    assert.deepEqual(outcome.counters, ["sessions_created", "translated_out"]);
    assert.deepEqual([parsed(outcome).ip.source, parsed(outcome).ip.ttl], [PUBLIC, 64]);
    assert.ok(checksumsValid(outcome.packet!));
  }
});

test("a packet that no route can carry is dropped by reason, after its session was made", () => {
  const node = newBench();
  const prohibited = node.receive(segment(syn, { to: planned(PLAN.prohibitedRemotes, 1) }));
  assert.deepEqual(prohibited.counters, ["sessions_created", "drop_no_route"]);
  const big = (bytes: number) => node.receive(datagram({}, Buffer.alloc(bytes - 28)));
  assert.deepEqual(big(1501).counters, ["sessions_created", "drop_too_big"]);
  assert.deepEqual(big(1500).counters, ["translated_out"]);
  assert.equal(sessionsOf(node.state()).length, 2);
});

test("a slot without an owner, and a gateway without an address, let nothing out", () => {
  const node = newBench();
  node.move(slotOf(ENDPOINT), -1);
  assertDrop(node.receive(segment(syn)), "drop_no_owner");
  const bare = { ...EXAMPLE, gateways: [{ ...EXAMPLE.gateways[0]!, addresses: [], owners: [] }] };
  assertDrop(newBench(bare).receive(segment(syn)), "drop_no_owner");
});

test("when its slot moves away an established flow is steered to the new owner, and counts again if the slot comes back", () => {
  const node = newBench();
  const out = node.receive(segment(syn));
  node.move(slotOf(ENDPOINT), 1);
  assert.deepEqual(node.receive(segment(ack)).counters, ["steered_out"]);
  const reply = node.receive(replyTo(out.packet!, syn | ack)!, "outside");
  assert.deepEqual([reply.counters, parsed(reply).ip.destination], [["steered_in"], PEER]);
  node.move(slotOf(ENDPOINT), 0);
  assert.deepEqual(node.receive(segment(ack)).counters, ["translated_out"]);
});

test("the gateway of the longest prefix serves a source", () => {
  const narrow = { ...EXAMPLE.gateways[0]!, id: "narrow", sources: ["10.1.0.2/32"], addresses: [PUBLIC + 1] };
  const node = newBench({ ...EXAMPLE, gateways: [...EXAMPLE.gateways, narrow] });
  assert.equal(parsed(node.receive(segment(syn))).ip.source, PUBLIC);
  assert.equal(parsed(node.receive(segment(syn, { from: OTHER_ENDPOINT }))).ip.source, PUBLIC + 1);
});

test("a datagram to or from address 0 port 0 never takes the mapping for a session", () => {
  const node = newBench();
  const port = publicPort(node.receive(datagram()));
  const nobody = datagram({ from: 0, sourcePort: 0, to: PUBLIC, destinationPort: port });
  assertDrop(node.receive(nobody, "outside"), "drop_no_session");
  assertDrop(node.receive(datagram({ to: 0, destinationPort: 0 })), "drop_table_full");
  assert.deepEqual(node.receive(datagram()).counters, ["translated_out"]);
});

test("IP options and bytes behind the packet are carried along", () => {
  const padding = Buffer.alloc(7, 0xee);
  const ip = { source: ENDPOINT, destination: REMOTE, options: Buffer.alloc(8, 1) };
  for (const transport of [
    tcp({ sourcePort: 1, destinationPort: 2, flags: syn }),
    udp({ sourcePort: 1, destinationPort: 2 }),
  ]) {
    const outcome = newBench().receive(buildSketch({ ip, transport, padding }));
    assert.deepEqual([parsed(outcome).ip.options, parsed(outcome).padding], [ip.options, padding]);
    assert.ok(checksumsValid(outcome.packet!));
  }
});
