/** ICMP errors about translated flows (RFC 5508): who gets them, what they quote, and what they must not do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { buildPacket, checksumsValid, ETHERNET_BYTES, parseIpv4, parsePacket, TCP_FLAG } from "../packet.ts";
import {
  datagram,
  ENDPOINT,
  newBench,
  OTHER_ENDPOINT,
  PEER,
  PUBLIC,
  ping,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import { errorAbout, replyTo } from "./scenario.ts";
import { sessionsOf } from "./state.ts";
import { PLAN, planned } from "./world.ts";

const { syn, ack } = TCP_FLAG;
const ROUTER = planned(PLAN.remotes, 99);
const INSIDE_ROUTER = planned(PLAN.strangers, 1);
const WHOLE = 1500;
const TOO_BIG = { type: 3, code: 4, quote: WHOLE, router: ROUTER };

/** The packet that an error quotes, as a frame of its own. */
function quotedIn(frame: Buffer): Buffer {
  const parsed = parseIpv4(frame);
  assert.ok(parsed.ok);
  const { payloadAt, payloadBytes } = parsed.ip;
  return Buffer.concat([
    frame.subarray(0, ETHERNET_BYTES),
    frame.subarray(payloadAt + 8, payloadAt + payloadBytes),
  ]);
}

/** A packet with another TTL, as the routers on the way leave it. */
function withTtl(frame: Buffer, ttl: number): Buffer {
  const parsed = parsePacket(frame);
  assert.ok(parsed.ok);
  return buildPacket({ ...parsed.packet, ip: { ...parsed.packet.ip, ttl } });
}

for (const [name, packet] of [
  ["TCP", segment(syn)],
  ["UDP", datagram()],
  ["ICMP echo", ping(4711)],
] as const) {
  test(`an error about an outbound ${name} packet reaches the endpoint, and quotes what the endpoint had sent`, () => {
    const node = newBench();
    const out = node.receive(packet);
    const error = node.receive(errorAbout(out.packet!, TOO_BIG)!, "outside");
    assert.deepEqual(error.counters, ["translated_in"]);
    const parsed = parseIpv4(error.packet!);
    assert.ok(parsed.ok);
    assert.deepEqual([parsed.ip.source, parsed.ip.destination], [ROUTER, ENDPOINT]);
    assert.ok(checksumsValid(error.packet!), "checksum of the error");
    const quoted = quotedIn(error.packet!);
    assert.deepEqual(quoted.subarray(ETHERNET_BYTES), withTtl(packet, 63).subarray(ETHERNET_BYTES));
  });

  test(`an error about an inbound ${name} packet reaches the remote, and names no inside address`, () => {
    const node = newBench();
    const out = node.receive(packet);
    const reply = replyTo(out.packet!, syn | ack)!;
    const delivered = node.receive(reply, "outside");
    const error = node.receive(errorAbout(delivered.packet!, { ...TOO_BIG, router: undefined })!, "inside");
    assert.deepEqual(error.counters, ["translated_out"]);
    const parsed = parseIpv4(error.packet!);
    assert.ok(parsed.ok);
    assert.deepEqual([parsed.ip.source, parsed.ip.destination], [PUBLIC, REMOTE]);
    assert.ok(checksumsValid(error.packet!));
    assert.deepEqual(
      quotedIn(error.packet!).subarray(ETHERNET_BYTES),
      withTtl(reply, 59).subarray(ETHERNET_BYTES),
    );
  });
}

test("a router inside that complains is hidden behind the public address, although it is not enrolled", () => {
  const node = newBench();
  const delivered = node.receive(replyTo(node.receive(segment(syn)).packet!, syn | ack)!, "outside");
  const error = node.receive(errorAbout(delivered.packet!, { ...TOO_BIG, router: INSIDE_ROUTER })!, "inside");
  assert.deepEqual(error.counters, ["translated_out"]);
  assert.equal(error.packet!.readUInt32BE(ETHERNET_BYTES + 12), PUBLIC);
});

test("a quote that is cut off behind 8 bytes of transport is enough", () => {
  const node = newBench();
  const out = node.receive(segment(syn));
  const error = node.receive(errorAbout(out.packet!, { ...TOO_BIG, quote: 28 })!, "outside");
  assert.deepEqual(error.counters, ["translated_in"]);
  assert.ok(checksumsValid(error.packet!));
  assert.equal(quotedIn(error.packet!).readUInt32BE(ETHERNET_BYTES + 12), ENDPOINT);
  const tooShort = node.receive(errorAbout(out.packet!, { ...TOO_BIG, quote: 27 })!, "outside");
  assert.deepEqual(tooShort.counters, ["drop_unsupported"]);
});

test("an error about a flow that nobody knows, or about somebody else's packet, is dropped", () => {
  const node = newBench();
  const out = node.receive(segment(syn)).packet!;
  const other = newBench().receive(datagram({ from: OTHER_ENDPOINT })).packet!;
  assert.deepEqual(node.receive(errorAbout(other, TOO_BIG)!, "outside").counters, ["drop_no_session"]);
  const misdirected = errorAbout(out, TOO_BIG)!;
  misdirected.writeUInt32BE(PUBLIC + 1, ETHERNET_BYTES + 16);
  assert.notDeepEqual(node.receive(misdirected, "outside").counters, ["translated_in"]);
});

test("an error that comes to another node is steered to the owner of the quoted packet's slot", () => {
  const node = newBench();
  const out = node.receive(segment(syn)).packet!;
  const error = errorAbout(out, TOO_BIG)!;
  node.move(slotOf(ENDPOINT), 1);
  const steered = node.receive(error, "outside");
  assert.deepEqual(steered.counters, ["steered_in"]);
  assert.equal(steered.packet!.readUInt32BE(ETHERNET_BYTES + 16), PEER);
});

test("an error neither begins a session, nor keeps one alive, nor ends one (RFC 5508, RFC 5382 REQ-10)", () => {
  const node = newBench();
  const out = node.receive(datagram()).packet!;
  node.wait(200);
  const before = sessionsOf(node.state());
  node.receive(errorAbout(out, TOO_BIG)!, "outside");
  assert.deepEqual(sessionsOf(node.state()), before);
  assert.equal(node.wait(101), 1);
});

test("errors with any type, code and length of quote leave with valid checksums or not at all", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(segment(syn), datagram(), ping(4711)),
      fc.constantFrom(3, 11, 12),
      fc.nat(255),
      fc.nat(80),
      (packet, type, code, quote) => {
        const node = newBench();
        const out = node.receive(packet);
        const error = node.receive(
          errorAbout(out.packet!, { type, code, quote, router: ROUTER })!,
          "outside",
        );
        if (quote < 28) assert.deepEqual(error.counters, ["drop_unsupported"]);
        else assert.ok(error.packet && checksumsValid(error.packet));
      },
    ),
  );
});
