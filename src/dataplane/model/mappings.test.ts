import assert from "node:assert/strict";
import { test } from "node:test";
import { TCP_FLAG } from "../packet.ts";
import { discoverFiltering, discoverMapping } from "./discovery.ts";
import {
  type Bench,
  behaving,
  COMBINATIONS,
  datagram,
  EXAMPLE,
  newBench,
  OTHER_REMOTE,
  PORTS_PER_SLOT,
  PUBLIC,
  ping,
  REMOTE,
  segment,
} from "./example.ts";
import { replyTo } from "./scenario.ts";
import { mappingsOf, sessionsOf } from "./state.ts";

const { syn, ack, rst, fin } = TCP_FLAG;
const OPEN = behaving({
  mapping: { udp: "EndpointIndependent", tcp: "EndpointIndependent" },
  filtering: { udp: "EndpointIndependent", tcp: "EndpointIndependent" },
});
const publicPort = (packet: Buffer | undefined) => packet!.readUInt16BE(34);
/** A packet from a remote's port 9999 to the public port. */
const unsolicited = (port: number, from = OTHER_REMOTE) => ({
  from,
  sourcePort: 9999,
  to: PUBLIC,
  destinationPort: port,
});

for (const { mapping, filtering } of COMBINATIONS) {
  for (const protocol of ["udp", "tcp"] as const) {
    test(`${protocol}: ${mapping.udp} mapping with ${filtering.udp} filtering is what a remote finds out (RFC 4787, 5382, 5780)`, () => {
      const node = newBench(behaving({ mapping, filtering }));
      const exchange = (frame: Buffer, role: "inside" | "outside" | "both") =>
        node.receive(frame, role).packet;
      assert.equal(discoverFiltering(exchange, protocol), filtering[protocol]);
      assert.equal(discoverMapping(exchange, protocol), mapping[protocol]);
    });
  }
}

test("what the filter lets in leaves nothing behind, so nobody outside can fill the table", () => {
  const node = newBench(OPEN);
  const port = publicPort(node.receive(datagram()).packet);
  const before = node.state();
  assert.deepEqual(node.receive(datagram(unsolicited(port)), "outside").counters, ["translated_in"]);
  assert.equal(node.state(), before);
});

test("an endpoint answers what the filter let in from the port that was asked", () => {
  const node = newBench(OPEN);
  const port = publicPort(node.receive(datagram()).packet);
  const asked = node.receive(datagram(unsolicited(port)), "outside");
  const answer = node.receive(replyTo(asked.packet!, 0)!);
  assert.deepEqual(answer.counters, ["sessions_created", "translated_out"]);
  assert.equal(publicPort(answer.packet), port);
});

test("a connection from outside through the filter is accepted, transfers, and can be refused", () => {
  const node = newBench(OPEN);
  const port = publicPort(node.receive(segment(syn)).packet);
  const asked = node.receive(segment(syn, unsolicited(port)), "outside");
  assert.deepEqual(asked.counters, ["translated_in"]);
  const refusal = node.receive(replyTo(asked.packet!, rst | ack)!);
  assert.deepEqual([refusal.counters, publicPort(refusal.packet)], [["translated_out"], port]);
  assert.equal(sessionsOf(node.state()).length, 1);
  const accepted = node.receive(replyTo(asked.packet!, syn | ack)!);
  assert.deepEqual(accepted.counters, ["sessions_created", "translated_out"]);
  const [, session] = sessionsOf(node.state());
  assert.deepEqual([session?.outbound.syn, session?.inbound.syn], [true, true]);
  assert.deepEqual(node.receive(replyTo(accepted.packet!, ack)!, "outside").counters, ["translated_in"]);
});

test("through the filter TCP comes in only with the first packet of a connection", () => {
  const node = newBench(OPEN);
  const port = publicPort(node.receive(segment(syn)).packet);
  for (const flags of [ack, syn | ack, rst, fin | ack, syn | rst]) {
    assert.deepEqual(node.receive(segment(flags, unsolicited(port)), "outside").counters, [
      "drop_no_session",
    ]);
  }
});

test("an endpoint that answers where the filter would have let nobody in is reset", () => {
  const strict = { udp: "AddressDependent", tcp: "AddressDependent" } as const;
  const node = newBench(behaving({ mapping: OPEN.gateways[0]!.behaviour.mapping, filtering: strict }));
  node.receive(segment(syn));
  const toStranger = { to: OTHER_REMOTE };
  for (const flags of [syn | ack, ack]) {
    assert.deepEqual(node.receive(segment(flags, toStranger)).counters, ["drop_not_syn", "resets_sent"]);
  }
  assert.deepEqual(node.receive(segment(rst, toStranger)).counters, ["drop_not_syn"]);
  assert.deepEqual(node.receive(segment(syn | ack, { destinationPort: 80 })).counters, [
    "sessions_created",
    "translated_out",
  ]);
});

test("a permission ends with the last flow to its address, not before", () => {
  const node = newBench();
  const port = publicPort(node.receive(datagram()).packet);
  node.wait(200);
  node.receive(datagram({ destinationPort: 53 }));
  const comesIn = (from: number) => node.receive(datagram(unsolicited(port, from)), "outside").verdict.kind;
  assert.equal(node.wait(100), 1);
  assert.equal(comesIn(REMOTE), "redirect");
  node.receive(datagram({ to: OTHER_REMOTE }));
  assert.equal(node.wait(200), 1);
  assert.deepEqual([comesIn(REMOTE), comesIn(OTHER_REMOTE)], ["drop", "redirect"]);
});

/** Opens a flow and lets it end. */
function useAndLeave(node: Bench): number {
  const port = publicPort(node.receive(datagram()).packet);
  assert.equal(node.wait(300), 1);
  return port;
}

test("a port that took packets from anybody rests for the hold-down, then another gets it (RFC 6888 REQ-8)", () => {
  const node = newBench(OPEN);
  const port = useAndLeave(node);
  const wanted = datagram({ sourcePort: 5000 + PORTS_PER_SLOT });
  const strangers = () => node.receive(datagram(unsolicited(port)), "outside").counters;
  assert.deepEqual(strangers(), ["drop_no_session"]);
  node.wait(119.999);
  assert.equal(mappingsOf(node.state()).length, 1);
  node.wait(0.001);
  assert.equal(mappingsOf(node.state()).length, 0);
  assert.equal(publicPort(node.receive(wanted).packet), port);
});

test("while it rests the port is still its endpoint's, who may come back to it", () => {
  const node = newBench(OPEN);
  const port = useAndLeave(node);
  assert.equal(publicPort(node.receive(datagram({ to: OTHER_REMOTE })).packet), port);
  assert.equal(mappingsOf(node.state()).length, 1);
});

test("ports that a filter guards are free at once, and so are all without a hold-down", () => {
  for (const world of [EXAMPLE, behaving({ holdDownSeconds: 0 }, OPEN)]) {
    const node = newBench(world);
    useAndLeave(node);
    assert.equal(node.state().records.size, 0);
  }
});

test("a resting port of a slot that moves away is forgotten", () => {
  const node = newBench(OPEN);
  useAndLeave(node);
  node.move(mappingsOf(node.state())[0]!.slot, 1);
  node.wait(0);
  assert.equal(node.state().records.size, 0);
});

test("ICMP echo has a mapping for each remote address, and no filter lets in what was not asked for", () => {
  const node = newBench(OPEN);
  const out = node.receive(ping(7)).packet!;
  const reply = replyTo(out, 0)!;
  reply.writeUInt32BE(OTHER_REMOTE, 26);
  assert.deepEqual(node.receive(reply, "outside").counters, ["drop_no_session"]);
});
