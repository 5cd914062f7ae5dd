/** Fragmented packets in the model: in order, by way of the node where they meet, and what cannot belong together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checksumsValid, ETHERNET_BYTES, parsePacket, TCP_FLAG } from "../packet.ts";
import {
  datagram,
  ENDPOINT,
  EXAMPLE,
  newBench,
  OTHER_ENDPOINT,
  PUBLIC,
  ping,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import { deliver, newCloud } from "./fabric.ts";
import { SHARE_OF_DATAGRAMS } from "./fragments.ts";
import { meaningOf, PAYLOAD_OF_PARTS as PAYLOAD, partsOf, reassemble } from "./reassembly.ts";
import { replyTo } from "./scenario.ts";
import { buildSketch, partOfPacket, tcp } from "./sketch.ts";
import { moveSlot, type World } from "./world.ts";

const { syn } = TCP_FLAG;
const WHOLE = datagram({}, PAYLOAD);
test("the fragments of a datagram leave with the same address, and their receiver makes the datagram of them", () => {
  const bench = newBench();
  const sent = partsOf(WHOLE).map((part) => bench.receive(part));
  assert.deepEqual(
    sent.map(({ counters }) => counters),
    [["sessions_created", "translated_out"], ["translated_out"], ["translated_out"]],
  );
  for (const { packet } of sent) assert.ok(checksumsValid(packet!));
  const whole = reassemble(sent.map(({ packet }) => packet!));
  const expected = newBench().receive(WHOLE).packet!;
  assert.deepEqual(meaningOf(whole), meaningOf(expected), "as if it had never been in parts");
  assert.equal(bench.state().datagrams.size, 0, "what has passed is forgotten");
});

test("the fragments of an answer come back to the endpoint, of UDP, TCP and an echo", () => {
  for (const frame of [datagram({ sourcePort: 5000 }), segment(syn, { sourcePort: 5000 }), ping(5000)]) {
    const bench = newBench();
    const reply = replyTo(bench.receive(frame).packet!, syn | TCP_FLAG.ack, undefined, PAYLOAD)!;
    const parts = partsOf(reply).map((part) => bench.receive(part, "outside").packet!);
    const whole = reassemble(parts);
    const expected = newBench();
    expected.receive(frame);
    assert.deepEqual(meaningOf(whole), meaningOf(expected.receive(reply, "outside").packet!));
  }
});

test("fragments meet, by whatever node they come in, and leave by way of the owner", () => {
  for (const [owner, spread] of [
    [0, "Endpoint"],
    [1, "Endpoint"],
    [2, "Flow"],
  ] as const) {
    const gateways = EXAMPLE.gateways.map((gateway) => ({
      ...gateway,
      allocation: { method: "Hashed" as const, spread },
      owners: [gateway.owners[0]!.map((_, slot) => slot % 3)],
    }));
    const world: World = moveSlot({ ...EXAMPLE, gateways }, slotOf(ENDPOINT), owner);
    let cloud = newCloud(world);
    const left = partsOf(WHOLE).map((part, i) => {
      const delivery = deliver(cloud, i, "inside", part);
      cloud = delivery.cloud;
      assert.equal(delivery.end.kind, "left");
      return delivery.end.kind === "left" ? delivery.end : undefined;
    });
    assert.equal(new Set(left.map((end) => end?.node)).size, 1, "all leave by one node");
    const whole = reassemble(left.map((end) => end!.packet));
    const reply = replyTo(whole, syn, undefined, PAYLOAD)!;
    const back = partsOf(reply, 8).map((part, i) => {
      const delivery = deliver(cloud, (i + 1) % 3, "outside", part);
      cloud = delivery.cloud;
      assert.equal(delivery.end.kind, "left");
      return delivery.end.kind === "left" ? delivery.end.packet : part;
    });
    const { destination, transport } = meaningOf(reassemble(back));
    assert.equal(destination, ENDPOINT);
    assert.ok(transport.kind === "udp" && transport.destinationPort === 5000);
    assert.deepEqual(transport.payload, PAYLOAD);
  }
});

test("fragments that cannot be a part of a datagram, or overlap one that has passed, are dropped", () => {
  const [first, second, last] = partsOf(WHOLE);
  const shorter = partOfPacket(WHOLE, { identification: 7, from: 4, to: 6 });
  const odd = Buffer.from(second!);
  odd.writeUInt16BE(20 + 39, ETHERNET_BYTES + 2);
  const beyond = Buffer.from(last!);
  beyond.writeUInt16BE(0x1fff, ETHERNET_BYTES + 6);
  for (const bad of [shorter, odd, beyond]) {
    const bench = newBench();
    bench.receive(first!);
    assert.deepEqual(bench.receive(bad).counters, ["drop_fragment"]);
  }
  const bench = newBench();
  for (const part of [first!, second!]) bench.receive(part);
  assert.deepEqual(bench.receive(second!).counters, ["drop_fragment"], "twice the same");
  assert.deepEqual(bench.receive(last!).counters, ["translated_out"]);
});

test("a first fragment must have the whole transport header, and no later one touches that of TCP (RFC 1858)", () => {
  const tiny = partOfPacket(segment(syn), { identification: 7, from: 0, to: 2 });
  assert.deepEqual(newBench().receive(tiny).counters, ["drop_malformed"]);
  const ends = { source: ENDPOINT, destination: REMOTE };
  const transport = tcp({ sourcePort: 5000, destinationPort: 443, flags: syn, payload: PAYLOAD });
  const whole = buildSketch({ ip: ends, transport });
  for (const from of [1, 2]) {
    const bench = newBench();
    assert.ok(bench.receive(partsOf(whole)[0]!).counters.includes("translated_out"));
    const over = partOfPacket(whole, { identification: 7, from, to: 3 });
    assert.deepEqual(bench.receive(over).counters, ["drop_fragment"]);
  }
});

test("an identification that is used again begins a new datagram, and one that takes too long is forgotten", () => {
  const bench = newBench();
  const [first, second] = partsOf(WHOLE);
  const [otherFirst, otherSecond] = partsOf(datagram({ sourcePort: 5001 }, PAYLOAD));
  for (const part of [first!, second!]) bench.receive(part);
  bench.receive(otherFirst!);
  assert.deepEqual(bench.receive(otherSecond!).counters, ["translated_out"]);
  bench.wait(20);
  assert.equal(bench.state().datagrams.size, 0);
  assert.deepEqual(bench.receive(second!).counters, ["fragments_held"]);
});

test("an endpoint that begins datagrams and never ends them has its share of the table, and leaves the others theirs", () => {
  const bench = newBench();
  const begin = (from: number, identification: number) =>
    bench.receive(partsOf(datagram({ from }, PAYLOAD), identification)[0]!).counters;
  for (let i = 0; i < SHARE_OF_DATAGRAMS; i++) assert.ok(!begin(ENDPOINT, i).includes("drop_fragment_limit"));
  assert.deepEqual(begin(ENDPOINT, 300), ["drop_fragment_limit"]);
  assert.deepEqual(begin(OTHER_ENDPOINT, 300), ["sessions_created", "translated_out"]);
});

test("fragments of a packet to a public address turn around like whole ones", () => {
  const bench = newBench();
  const bound = parsePacket(bench.receive(datagram({ from: OTHER_ENDPOINT, to: REMOTE })).packet!);
  assert.ok(bound.ok && bound.packet.transport.kind === "udp");
  const to = { to: PUBLIC, destinationPort: bound.packet.transport.sourcePort };
  const parts = partsOf(datagram(to, PAYLOAD)).map((part) => bench.receive(part));
  for (const { counters } of parts) assert.ok(counters.includes("hairpinned"));
});

test("nobody is told about a later fragment (RFC 1122, section 3.2.2)", () => {
  const narrow = newBench(EXAMPLE, () => ({ kind: "no-neighbour", mtu: 50 }));
  const [first, second] = partsOf(WHOLE).map((part) => {
    const kept = Buffer.from(part);
    kept.writeUInt16BE(kept.readUInt16BE(ETHERNET_BYTES + 6) | 0x4000, ETHERNET_BYTES + 6);
    return kept;
  });
  assert.deepEqual(narrow.receive(first!).counters, ["sessions_created", "drop_too_big", "too_big_sent"]);
  assert.deepEqual(narrow.receive(second!).counters, ["drop_too_big"]);
});
