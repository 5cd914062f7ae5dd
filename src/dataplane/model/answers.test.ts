import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_LIMITS } from "../../model/nat-behaviour.ts";
import { checksumsValid, ETHERNET_BYTES, parseIpv4, parsePacket, TCP_FLAG } from "../packet.ts";
import {
  behaving,
  datagram,
  ENDPOINT,
  EXAMPLE,
  NODE,
  newBench,
  PUBLIC,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import { errorAbout, replyTo } from "./scenario.ts";
import { sessionsOf } from "./state.ts";
import { plannedRoutes } from "./world.ts";

const { syn, ack, fin, rst, psh } = TCP_FLAG;

/** What a fresh node answers to a segment. */
function answerTo(flags: number) {
  const node = newBench();
  const question = parsePacket(segment(flags));
  const outcome = node.receive(segment(flags));
  const answer = outcome.packet && parsePacket(outcome.packet);
  assert.deepEqual(sessionsOf(node.state()), [], "a reset begins nothing");
  assert.ok(question.ok && question.packet.transport.kind === "tcp");
  if (!answer) return { outcome, question: question.packet.transport, answer: undefined };
  assert.ok(answer.ok && answer.packet.transport.kind === "tcp" && checksumsValid(outcome.packet!));
  assert.deepEqual([answer.packet.ip.source, answer.packet.ip.destination], [REMOTE, ENDPOINT]);
  return { outcome, question: question.packet.transport, answer: answer.packet.transport };
}

test("the middle of an unknown connection is answered with a reset that the client must believe", () => {
  for (const flags of [ack, ack | psh, ack | fin, syn | ack]) {
    const { outcome, question, answer } = answerTo(flags);
    assert.deepEqual(outcome.verdict, { kind: "return" });
    assert.deepEqual(outcome.counters, ["drop_not_syn", "resets_sent"]);
    assert.equal(answer?.flags, rst);
    assert.equal(answer?.sequence, question.acknowledgement, "RFC 5961 takes no other sequence number");
  }
});

test("a segment without ACK is answered with an acknowledging reset", () => {
  const { question, answer } = answerTo(fin);
  assert.equal(answer?.flags, rst | ack);
  assert.equal(answer?.acknowledgement, question.sequence + question.payload.length + 1);
});

test("a reset is never answered", () => {
  for (const flags of [rst, rst | ack]) {
    const { outcome } = answerTo(flags);
    assert.deepEqual(outcome.counters, ["drop_not_syn"]);
    assert.equal(outcome.verdict.kind, "drop");
  }
});

test("the ports and MAC addresses are those of the segment, exchanged", () => {
  const { outcome, question, answer } = answerTo(ack);
  assert.deepEqual(
    [answer?.sourcePort, answer?.destinationPort],
    [question.destinationPort, question.sourcePort],
  );
  const asked = segment(ack);
  assert.deepEqual(outcome.packet?.subarray(0, 6), asked.subarray(6, 12));
  assert.deepEqual(outcome.packet?.subarray(6, 12), asked.subarray(0, 6));
});

const DONT_FRAGMENT = 0x40;

/** A UDP packet of so many bytes from the IP header on, which may not be fragmented. */
function large(bytes: number): Buffer {
  const frame = datagram({}, Buffer.alloc(bytes - 28));
  frame.writeUInt8(frame.readUInt8(ETHERNET_BYTES + 6) | DONT_FRAGMENT, ETHERNET_BYTES + 6);
  return frame;
}

/** What a "fragmentation needed" says: from whom, to whom, how much would fit, and about what. */
function readTooBig(frame: Buffer | undefined) {
  assert.ok(frame);
  const parsed = parseIpv4(frame);
  assert.ok(parsed.ok);
  const { source, destination, payloadAt } = parsed.ip;
  assert.deepEqual([frame.readUInt8(payloadAt), frame.readUInt8(payloadAt + 1)], [3, 4]);
  const quote = frame.subarray(payloadAt + 8);
  return { source, destination, mtu: frame.readUInt16BE(payloadAt + 6), quote };
}

test("a sender inside is told what fits when its packet is too big for the way out (RFC 1191)", () => {
  const node = newBench();
  const packet = large(1501);
  const outcome = node.receive(packet);
  assert.deepEqual(outcome.counters, ["sessions_created", "drop_too_big", "too_big_sent"]);
  const told = readTooBig(outcome.packet);
  assert.deepEqual([told.source, told.destination, told.mtu], [NODE, ENDPOINT, 1500]);
  assert.deepEqual(
    told.quote,
    packet.subarray(ETHERNET_BYTES, ETHERNET_BYTES + 28),
    "the packet as its sender knows it",
  );
  assert.deepEqual(node.receive(large(1500)).counters, ["translated_out"]);
});

test("a packet that is to be steered must leave room for the wrap", () => {
  const node = newBench();
  node.move(slotOf(ENDPOINT), 1);
  assert.equal(readTooBig(node.receive(large(1451)).packet).mtu, 1450);
  assert.deepEqual(node.receive(large(1450)).counters, ["steered_out"]);
});

test("a sender outside is told by the public address that it knows", () => {
  const routes = plannedRoutes(EXAMPLE.nodes[0]!);
  const narrow = newBench(EXAMPLE, (destination) => {
    const route = routes(destination);
    return destination === ENDPOINT && route.kind === "found" ? { ...route, mtu: 600 } : route;
  });
  const reply = replyTo(narrow.receive(large(1000)).packet!, 0)!;
  const told = readTooBig(narrow.receive(reply, "outside").packet);
  assert.deepEqual([told.source, told.destination, told.mtu], [PUBLIC, REMOTE, 600]);
});

test("neither what may be fragmented nor an ICMP error is answered", () => {
  const node = newBench();
  assert.deepEqual(node.receive(datagram({}, Buffer.alloc(1600))).counters, [
    "sessions_created",
    "drop_too_big",
  ]);
  const out = node.receive(large(1400)).packet!;
  const error = errorAbout(out, { type: 3, code: 1, quote: 1500, router: undefined })!;
  const padded = Buffer.concat([error, Buffer.alloc(200)]);
  padded.writeUInt16BE(padded.length - ETHERNET_BYTES, ETHERNET_BYTES + 2);
  padded.writeUInt8(DONT_FRAGMENT, ETHERNET_BYTES + 6);
  const refused = node.receive(padded, "outside");
  assert.deepEqual(refused.counters, ["drop_too_big"]);
});

test("a flow that is refused is answered with 'administratively prohibited' where the gateway says so (RFC 5508 REQ-8)", () => {
  const limits = { ...NO_LIMITS, sessionsPerEndpoint: 1 };
  for (const icmpProhibited of [false, true]) {
    const failFast = { tcpReset: true, icmpProhibited };
    const node = newBench(behaving({ limits, failFast }));
    node.receive(segment(syn));
    const asked = datagram({}, Buffer.alloc(0));
    const { counters, packet } = node.receive(asked);
    assert.deepEqual(counters, ["drop_limit_sessions", ...(icmpProhibited ? ["prohibited_sent"] : [])]);
    if (!packet) continue;
    const answer = parsePacket(packet);
    assert.ok(answer.ok && answer.packet.transport.kind === "icmp" && checksumsValid(packet));
    assert.deepEqual([answer.packet.ip.source, answer.packet.ip.destination], [NODE, ENDPOINT]);
    const { type, code, payload } = answer.packet.transport;
    assert.deepEqual([type, code, payload], [3, 13, asked.subarray(ETHERNET_BYTES, ETHERNET_BYTES + 28)]);
  }
});
