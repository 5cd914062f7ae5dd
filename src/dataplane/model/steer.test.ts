import assert from "node:assert/strict";
import { test } from "node:test";
import { mix32 } from "../../model/slots.ts";
import { checksumsValid, parsePacket, parseVxlan, TCP_FLAG } from "../packet.ts";
import {
  type Bench,
  datagram,
  ENDPOINT,
  EXAMPLE,
  NODE,
  newBench,
  PEER,
  PUBLIC,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import { MARKS, type Mark } from "./moves.ts";
import { wrapAtPeer } from "./scenario.ts";
import { buildSketch, udp } from "./sketch.ts";
import { sessionsOf } from "./state.ts";
import { INTERFACE, PLAN, planned, VXLAN_PORT } from "./world.ts";

const { syn } = TCP_FLAG;

function elsewhere(): Bench {
  const node = newBench();
  node.move(slotOf(ENDPOINT), 1);
  return node;
}

/** A packet as node 1 wraps it for node 0. */
function wrapped(frame: Buffer, direction: "outbound" | "inbound" = "outbound"): Buffer {
  return wrapAtPeer(EXAMPLE, 0, 0, frame, direction)!;
}

/** Byte offsets in a wrapped frame. */
const AT = {
  outerTtl: 22,
  outerSource: 26,
  udpLength: 38,
  vxlanFlags: 42,
  vni: 46,
  innerDestination: 50,
  innerSource: 56,
};
const AT_INNER = { type: 62, ip: 64 };

function changed(frame: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(frame);
  change(copy);
  return copy;
}

function assertBad(frame: Buffer): void {
  const { verdict, counters } = newBench().receive(frame);
  assert.deepEqual([verdict, counters], [{ kind: "drop", counter: "drop_bad_wrap" }, ["drop_bad_wrap"]]);
}

test("a packet of another node's slot is wrapped for it and otherwise left as it is", () => {
  const frame = segment(syn, { ttl: 9 });
  const outcome = elsewhere().receive(frame);
  assert.deepEqual(outcome.counters, ["steered_out"]);
  assert.deepEqual(outcome.verdict, { kind: "redirect", ifindex: INTERFACE.fabric });
  assert.ok(checksumsValid(outcome.packet!));
  const outer = parsePacket(outcome.packet!);
  assert.ok(outer.ok && outer.packet.transport.kind === "udp");
  const { ip, transport } = outer.packet;
  assert.deepEqual([ip.source, ip.destination, ip.ttl, ip.dontFragment], [NODE, PEER, 64, true]);
  const entropy = mix32((ENDPOINT ^ REMOTE ^ ((5000 << 16) | 443)) >>> 0);
  assert.deepEqual(
    [transport.sourcePort, transport.destinationPort, transport.checksum],
    [49152 + (entropy % 16384), VXLAN_PORT, false],
  );
  const vxlan = parseVxlan(transport.payload)!;
  assert.deepEqual([vxlan.flags, vxlan.vni], [0x08, 0]);
  assert.equal(vxlan.frame.toString("hex", 0, 14), "024e41540000024e415400010800");
  assert.deepEqual(vxlan.frame.subarray(14), frame.subarray(14));
});

test("what comes in for another node's slot is wrapped with the inbound mark", () => {
  const node = newBench();
  for (let slot = 0; slot < 1008; slot++) node.move({ ...slotOf(ENDPOINT), number: slot }, 1);
  const outcome = node.receive(datagram({ from: REMOTE, to: PUBLIC, destinationPort: 2000 }), "outside");
  assert.deepEqual(outcome.counters, ["steered_in"]);
  assert.equal(outcome.packet!.toString("hex", AT.innerSource, AT.innerSource + 6), "024e41540002");
});

test("bytes behind the packet stay behind the wrap", () => {
  const padding = Buffer.alloc(6, 0xee);
  const ip = { source: ENDPOINT, destination: REMOTE };
  const frame = buildSketch({ ip, transport: udp({ sourcePort: 1, destinationPort: 2 }), padding });
  const outer = parsePacket(elsewhere().receive(frame).packet!);
  assert.deepEqual(outer.ok && outer.packet.padding, padding);
});

test("a wrap may be as large as the route's MTU, and not larger", () => {
  const outcome = (bytes: number) => elsewhere().receive(datagram({}, Buffer.alloc(bytes - 28))).counters;
  assert.deepEqual(outcome(1450), ["steered_out"]);
  assert.deepEqual(outcome(1451), ["drop_too_big"]);
});

test("without a neighbour the kernel gets the wrapped packet, with the MAC addresses of the frame", () => {
  const silent = EXAMPLE.nodes.with(1, { name: "node-1", address: planned(PLAN.silentNodes, 2) });
  const node = newBench({ ...EXAMPLE, nodes: silent });
  node.move(slotOf(ENDPOINT), 1);
  const frame = segment(syn);
  const { verdict, counters, packet } = node.receive(frame);
  assert.deepEqual([verdict, counters], [{ kind: "kernel" }, ["steered_out"]]);
  assert.deepEqual(packet!.subarray(0, 14), frame.subarray(0, 14));
  assert.equal(packet!.readUInt8(AT.outerTtl), 65, "the kernel takes one off");
  assert.ok(checksumsValid(packet!));
});

test("the owner unwraps a packet and treats it as if it had come directly", () => {
  const node = newBench();
  const outcome = node.receive(wrapped(segment(syn)), "outside");
  assert.deepEqual(outcome.counters, ["unwrapped", "sessions_created", "translated_out"]);
  const direct = newBench().receive(segment(syn));
  assert.deepEqual(outcome.packet, direct.packet);
  const reply = datagram({ from: REMOTE, to: PUBLIC, destinationPort: 2000 });
  assert.deepEqual(node.receive(wrapped(reply, "inbound")).counters, ["unwrapped", "drop_no_session"]);
});

test("a wrapped packet that is not this node's goes on with a higher mark, until there is none", () => {
  const marks: Mark[] = [];
  for (let mark: Mark | undefined = "steered"; mark; ) {
    marks.push(mark);
    const { counters, packet } = elsewhere().receive(
      wrapAtPeer(EXAMPLE, 0, 1, segment(syn), "outbound", mark)!,
    );
    const next: Mark | undefined = packet && MARKS[1 + packet.readUInt8(AT.innerDestination + 5)];
    assert.deepEqual(counters, ["unwrapped", next ? "passed_on" : "drop_not_owner"]);
    mark = next;
  }
  assert.deepEqual(marks, ["steered", "relayed", "returned", "last"]);
});

test("a wrapped packet that is nobody's is dropped, never given to the kernel", () => {
  const stranger = wrapped(segment(syn, { from: planned(PLAN.strangers, 1) }));
  assert.deepEqual(newBench().receive(stranger).counters, ["unwrapped", "drop_bad_wrap"]);
  const nested = wrapped(wrapped(segment(syn)));
  assert.deepEqual(newBench().receive(nested).counters, ["unwrapped", "drop_bad_wrap"]);
});

test("a wrap that no node would send is dropped", () => {
  const good = wrapped(segment(syn));
  assertBad(changed(good, (f) => f.writeUInt32BE(REMOTE, AT.outerSource)));
  assertBad(changed(good, (f) => f.writeUInt32BE(NODE, AT.outerSource)));
  assertBad(changed(good, (f) => f.writeUInt8(0, AT.vxlanFlags)));
  assertBad(changed(good, (f) => f.writeUInt8(0x88, AT.vxlanFlags)));
  assertBad(changed(good, (f) => f.writeUInt8(1, AT.vni)));
  assertBad(changed(good, (f) => f.writeUInt8(1, AT.vni + 3)));
  assertBad(changed(good, (f) => f.writeUInt16BE(f.readUInt16BE(AT.udpLength) - 1, AT.udpLength)));
  assertBad(changed(good, (f) => f.writeUInt8(5, AT.innerDestination + 5)));
  assertBad(changed(good, (f) => f.writeUInt8(0x4f, AT.innerDestination + 1)));
  for (const mark of [0, 3]) assertBad(changed(good, (f) => f.writeUInt8(mark, AT.innerSource + 5)));
  assertBad(changed(good, (f) => f.writeUInt16BE(0x86dd, AT_INNER.type)));
  assertBad(changed(good, (f) => f.writeUInt8(0x65, AT_INNER.ip)));
  assertBad(changed(good, (f) => f.writeUInt16BE(2000, AT_INNER.ip + 2)));
});

test("a wrap that ends too early is dropped, wherever its sender ended it", () => {
  const frame = wrapped(segment(syn));
  const outer = parsePacket(frame);
  assert.ok(outer.ok && outer.packet.transport.kind === "udp");
  const { ip, transport } = outer.packet;
  for (let length = 0; length < transport.payload.length; length++) {
    assertBad(
      buildSketch({ ip, transport: { ...transport, payload: transport.payload.subarray(0, length) } }),
    );
  }
});

test("a wrap or a probe with options in its outer header is dropped", () => {
  for (const frame of [wrapped(segment(syn)), probe(PEER)]) {
    const outer = parsePacket(frame);
    assert.ok(outer.ok);
    const { ip, transport } = outer.packet;
    assertBad(buildSketch({ ip: { ...ip, options: Buffer.alloc(4, 1) }, transport }));
  }
});

function probe(source: number): Buffer {
  const payload = Buffer.from("08000000ffffff00aabb", "hex");
  const transport = udp({ sourcePort: 50_001, destinationPort: VXLAN_PORT, payload });
  return buildSketch({ ip: { source, destination: NODE, ttl: 63 }, transport });
}

test("a peer's probe is answered from where it came, and leaves no trace", () => {
  const node = newBench();
  const { verdict, counters, packet } = node.receive(probe(PEER));
  assert.deepEqual([verdict, counters], [{ kind: "return" }, ["probes_answered"]]);
  assert.ok(checksumsValid(packet!));
  const answer = parsePacket(packet!);
  assert.ok(answer.ok && answer.packet.transport.kind === "udp");
  const { ethernet, ip, transport } = answer.packet;
  assert.deepEqual(ethernet, { destination: "02:00:00:00:00:02", source: "02:00:00:00:00:01" });
  assert.deepEqual([ip.source, ip.destination, ip.ttl], [NODE, PEER, 63]);
  assert.deepEqual(
    [transport.sourcePort, transport.destinationPort, transport.checksum, transport.payload.toString("hex")],
    [VXLAN_PORT, 50_001, false, "08000000ffffff00aabb"],
  );
  assert.equal(sessionsOf(node.state()).length, 0);
});

test("a probe is not answered to a stranger, nor while the node is not programmed", () => {
  assertBad(probe(REMOTE));
  const node = newBench(EXAMPLE, undefined, (config) => ({ ...config, programmed: false }));
  assert.deepEqual(node.receive(probe(PEER)).counters, ["drop_bad_wrap"]);
});

test("a fragment, or another port, of a packet to the node is no wrap", () => {
  const fragment = changed(wrapped(segment(syn)), (f) => f.writeUInt16BE(0x2000, 20));
  assert.deepEqual(newBench().receive(fragment, "outside").verdict, { kind: "kernel" });
  const other = changed(wrapped(segment(syn)), (f) => f.writeUInt16BE(VXLAN_PORT + 1, 36));
  assert.deepEqual(newBench().receive(other, "outside").verdict, { kind: "kernel" });
});
