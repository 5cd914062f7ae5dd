/** Fragments that come before their first, in the model: held, released in its train, given up, and never too many. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checksumsValid } from "../packet.ts";
import { datagram, ENDPOINT, EXAMPLE, newBench, OTHER_ENDPOINT, PUBLIC, REMOTE, slotOf } from "./example.ts";
import { deliver, type End, newCloud } from "./fabric.ts";
import { HELD_OF_DATAGRAM, MAX_HELD, SHARE_OF_HELD } from "./held-fragments.ts";
import { meaningOf, PAYLOAD_OF_PARTS, partsOf, reassemble } from "./reassembly.ts";
import { replyTo } from "./scenario.ts";
import { buildSketch, partOfPacket } from "./sketch.ts";
import { moveSlot } from "./world.ts";

const WHOLE = datagram({}, PAYLOAD_OF_PARTS);
const [FIRST, SECOND, LAST] = partsOf(WHOLE) as [Buffer, Buffer, Buffer];

test("fragments that come before the first are held, and leave after it", () => {
  for (const early of [[SECOND], [LAST], [SECOND, LAST], [LAST, SECOND]]) {
    const bench = newBench();
    for (const part of early) assert.deepEqual(bench.receive(part).counters, ["fragments_held"]);
    const left = bench.circulate(bench.receive(FIRST));
    assert.deepEqual(
      left.map(({ counters }) => counters.at(-1)),
      [FIRST, ...early].map(() => "translated_out"),
    );
    assert.equal(bench.state().waiting.size, 0);
    const late = [SECOND, LAST].filter((part) => !early.includes(part)).map((part) => bench.receive(part));
    const parts = [...left, ...late].map(({ packet }) => packet!);
    for (const part of parts) assert.ok(checksumsValid(part));
    assert.deepEqual(meaningOf(reassemble(parts)), meaningOf(newBench().receive(WHOLE).packet!));
    assert.equal(bench.state().datagrams.size, 0, "what has passed is forgotten");
  }
});

test("the fragments of an answer come back in reverse order", () => {
  const bench = newBench();
  const reply = replyTo(bench.receive(WHOLE).packet!, 0, undefined, PAYLOAD_OF_PARTS)!;
  const [first, ...others] = partsOf(reply);
  for (const part of others.reverse()) bench.receive(part, "outside");
  const parts = bench.circulate(bench.receive(first!, "outside")).map(({ packet }) => packet!);
  const { source, destination, transport } = meaningOf(reassemble(parts));
  assert.deepEqual([source, destination], [REMOTE, ENDPOINT]);
  assert.ok(transport.kind === "udp" && transport.payload.equals(PAYLOAD_OF_PARTS));
});

test("fragments in any order meet, by whatever node they come in, and all leave by way of the owner", () => {
  const packetsOf = (ends: readonly End[]) =>
    ends.flatMap((end) => (end.kind === "left" ? [end.packet] : []));
  for (const owner of [0, 1, 2]) {
    for (const order of [
      [LAST, SECOND, FIRST],
      [SECOND, FIRST, LAST],
    ]) {
      let cloud = newCloud(moveSlot(EXAMPLE, slotOf(ENDPOINT), owner));
      const ends = order.flatMap((part, node) => {
        const { end, released, cloud: next } = deliver(cloud, node, "inside", part);
        cloud = next;
        return [end, ...released];
      });
      const left = packetsOf(ends);
      assert.equal(left.length, 3);
      assert.ok(ends.every((end) => end.node === owner));
      const { source, transport } = meaningOf(reassemble(left));
      assert.equal(source, PUBLIC);
      assert.ok(transport.kind === "udp" && transport.payload.equals(PAYLOAD_OF_PARTS));
    }
  }
});

test("a first fragment that nobody asked for takes those along that were held for it", () => {
  const bench = newBench();
  const [first, second] = partsOf(datagram({ from: REMOTE, to: PUBLIC }, PAYLOAD_OF_PARTS));
  bench.receive(second!, "outside");
  const outcomes = bench.circulate(bench.receive(first!, "outside"));
  assert.deepEqual(
    outcomes.map(({ counters }) => counters),
    [["drop_no_session"], ["drop_fragment"]],
  );
  assert.equal(bench.state().waiting.size, 0);
});

test("what waits for 15 seconds is given up", () => {
  const bench = newBench();
  bench.receive(SECOND);
  bench.wait(10);
  assert.equal(bench.state().waiting.size, 1);
  bench.wait(10);
  assert.equal(bench.state().waiting.size, 0);
  assert.deepEqual(bench.receive(FIRST).counters, ["sessions_created", "translated_out"]);
});

test("a datagram has 64 fragments held at most, and one that is longer than a frame is not held", () => {
  const long = datagram({}, Buffer.alloc(16 * (HELD_OF_DATAGRAM + 10)));
  const bench = newBench();
  const counters = Array.from({ length: HELD_OF_DATAGRAM + 1 }, (_, i) => {
    const part = { identification: 1, from: 2 * (i + 1), to: 2 * (i + 2) };
    return bench.receive(partOfPacket(long, part)).counters[0];
  });
  assert.equal(counters.filter((name) => name === "fragments_held").length, HELD_OF_DATAGRAM);
  assert.equal(counters.at(-1), "drop_fragment_limit");
  const jumbo = partOfPacket(datagram({}, Buffer.alloc(4000)), { identification: 2, from: 1, to: 300 });
  assert.deepEqual(bench.receive(jumbo).counters, ["drop_fragment"]);
});

/** Lone fragments of a source: what each is counted as. */
function flood(bench: ReturnType<typeof newBench>, source: number, count: number): readonly string[] {
  return Array.from({ length: count }, (_, identification) => {
    const ip = { source, destination: REMOTE, identification, fragmentOffset: 185 };
    const transport = { kind: "raw", protocol: 17, payload: Buffer.alloc(8) } as const;
    return bench.receive(buildSketch({ ip, transport })).counters.join();
  });
}

test("a flood of lone fragments has its share of the room, and takes nothing from fragments that come in order", () => {
  const bench = newBench();
  const counted = flood(bench, ENDPOINT, SHARE_OF_HELD + 20);
  assert.equal(counted.filter((name) => name === "fragments_held").length, SHARE_OF_HELD);
  assert.deepEqual([...new Set(counted.slice(SHARE_OF_HELD))], ["drop_fragment_limit"]);
  assert.deepEqual(flood(bench, OTHER_ENDPOINT, 1), ["fragments_held"], "others still have theirs");
  const others = Array.from({ length: 20 }, (_, i) => flood(bench, ENDPOINT + 10 + i, 80)).flat();
  const held = SHARE_OF_HELD + 1 + others.filter((name) => name === "fragments_held").length;
  assert.equal(held, MAX_HELD);
  for (const part of partsOf(WHOLE, 4000)) assert.ok(bench.receive(part).counters.includes("translated_out"));
});
