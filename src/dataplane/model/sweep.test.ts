import assert from "node:assert/strict";
import { test } from "node:test";
import { TCP_FLAG } from "../packet.ts";
import {
  type Bench,
  behaving,
  datagram,
  ENDPOINT,
  EXAMPLE,
  newBench,
  OTHER_REMOTE,
  ping,
  segment,
  slotOf,
} from "./example.ts";
import { replyTo } from "./scenario.ts";
import { mappingsOf, sessionsOf } from "./state.ts";
import { sweep } from "./sweep.ts";
import { configOf } from "./world.ts";

const { syn, ack, fin, rst } = TCP_FLAG;

/** Opens a connection, both sides of which have shown their SYN. */
function openConnection(node: Bench): Buffer {
  const out = node.receive(segment(syn)).packet!;
  node.receive(replyTo(out, syn | ack)!, "outside");
  return out;
}

/** Asserts that the only session ends after so many seconds of silence, not a moment earlier. */
function assertEndsAfter(node: Bench, seconds: number): void {
  assert.equal(node.wait(seconds - 0.001), 0);
  assert.equal(node.wait(0.001), 1);
  assert.deepEqual([node.state().records.size, node.state().flows.size], [0, 0]);
}

test("an established TCP connection ends after two hours and four minutes of silence (RFC 5382 REQ-5)", () => {
  const node = newBench();
  openConnection(node);
  assertEndsAfter(node, 7440);
});

test("a TCP connection that is opening, closed or reset ends after four minutes of silence, each time its own (RFC 5382 REQ-5, RFC 7857)", () => {
  const { timeouts } = EXAMPLE.gateways[0]!.behaviour;
  const apart = behaving({ timeouts: { ...timeouts, tcpHalfOpen: 30 } });
  for (const [world, seconds] of [
    [EXAMPLE, 240],
    [apart, 30],
  ] as const) {
    const opening = newBench(world);
    opening.receive(segment(syn));
    assertEndsAfter(opening, seconds);
  }
  for (const [ours, theirs] of [
    [fin | ack, fin | ack],
    [rst, undefined],
    [undefined, rst],
  ]) {
    const node = newBench(apart);
    const out = openConnection(node);
    if (ours !== undefined) node.receive(segment(ours));
    if (theirs !== undefined) node.receive(replyTo(out, theirs)!, "outside");
    assertEndsAfter(node, 240);
  }
});

test("a connection that one side has closed may go on for as long as an established one", () => {
  for (const role of ["inside", "outside"] as const) {
    const node = newBench();
    const out = openConnection(node);
    node.receive(role === "inside" ? segment(fin | ack) : replyTo(out, fin | ack)!, role);
    assertEndsAfter(node, 7440);
  }
});

test("a reset that the other side did not believe is forgotten with its next packet (RFC 7857, section 2.2)", () => {
  const node = newBench();
  const out = openConnection(node);
  node.receive(replyTo(out, rst)!, "outside");
  node.wait(200);
  node.receive(segment(ack));
  assertEndsAfter(node, 7440);
  const again = newBench();
  const sent = openConnection(again);
  again.receive(segment(rst));
  again.receive(replyTo(sent, ack)!, "outside");
  again.receive(segment(rst));
  assertEndsAfter(again, 240);
});

test("two endpoints that open to each other at the same time have one connection (RFC 5382 REQ-2)", () => {
  const node = newBench();
  const out = node.receive(segment(syn)).packet!;
  node.receive(replyTo(out, syn)!, "outside");
  node.receive(segment(syn | ack));
  node.receive(replyTo(out, syn | ack)!, "outside");
  assert.equal(sessionsOf(node.state()).length, 1);
  assertEndsAfter(node, 7440);
});

test("UDP ends after five minutes of silence, a ping after one", () => {
  const udp = newBench();
  udp.receive(datagram());
  assertEndsAfter(udp, 300);
  const icmp = newBench();
  icmp.receive(ping(1));
  assertEndsAfter(icmp, 60);
});

test("only what an endpoint sends keeps a UDP session, unless the gateway says otherwise (RFC 4787 REQ-6)", () => {
  for (const udp of [false, true]) {
    const node = newBench(behaving({ inboundRefresh: { udp } }));
    const out = node.receive(datagram()).packet!;
    assert.equal(node.wait(200), 0);
    node.receive(datagram());
    assert.equal(node.wait(200), 0);
    node.receive(replyTo(out, 0)!, "outside");
    assertEndsAfter(node, udp ? 300 : 100);
  }
});

test("a packet of either direction keeps a TCP connection and a ping", () => {
  for (const packet of [segment(syn), ping(1)]) {
    const node = newBench();
    const out = node.receive(packet).packet!;
    assert.equal(node.wait(59), 0);
    node.receive(replyTo(out, ack)!, "outside");
    assertEndsAfter(node, packet.readUInt8(23) === 1 ? 60 : 240);
  }
});

test("a packet that belongs to no session keeps nothing", () => {
  const node = newBench();
  const out = node.receive(datagram()).packet!;
  assert.equal(node.wait(200), 0);
  const stranger = replyTo(node.receive(datagram({ to: OTHER_REMOTE })).packet!, 0)!;
  stranger.writeUInt16BE(9, 34);
  node.receive(stranger, "outside");
  assert.equal(node.wait(100), 1);
  assert.equal(node.receive(replyTo(out, 0)!, "outside").verdict.kind, "drop");
});

test("a mapping lives as long as any of its sessions, and its port is free after the last", () => {
  const node = newBench();
  node.receive(datagram());
  node.wait(200);
  node.receive(datagram({ to: OTHER_REMOTE }));
  assert.equal(node.wait(100), 1);
  assert.equal(mappingsOf(node.state())[0]?.references, 1);
  assert.equal(node.wait(200), 1);
  assert.equal(mappingsOf(node.state()).length, 0);
});

test("sessions of a slot that has moved away end at the next sweep, whoever has it now", () => {
  for (const owner of [1, -1]) {
    const node = newBench();
    node.receive(datagram());
    node.receive(segment(syn));
    node.move(slotOf(ENDPOINT), owner);
    assert.equal(sessionsOf(node.state()).length, 2);
    assert.equal(node.wait(0), 2);
    assert.equal(node.state().records.size, 0);
  }
});

test("sessions of a gateway that is gone end at the next sweep", () => {
  const node = newBench();
  node.receive(segment(syn));
  const without = configOf({ ...EXAMPLE, gateways: [] }, 0);
  assert.equal(sweep(without, node.state(), 0).expired, 1);
});
