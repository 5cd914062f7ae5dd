import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  buildPacket,
  buildVxlan,
  checksum,
  checksumsValid,
  type Packet,
  parseIpv4,
  parsePacket,
  parseVxlan,
  type Transport,
  updateChecksum,
} from "./packet.ts";

/** Plain objects, as the codec makes them. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(model, { noNullPrototype: true });
}

const port = fc.integer({ min: 0, max: 65535 });
const word = fc.integer({ min: 0, max: 0xffffffff });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((b) => Buffer.from(b));
const options = fc
  .integer({ min: 0, max: 10 })
  .chain((n) => fc.uint8Array({ minLength: 4 * n, maxLength: 4 * n }));
const mac = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((b) => [...b].map((x) => x.toString(16).padStart(2, "0")).join(":"));

const transport: fc.Arbitrary<Transport> = fc.oneof(
  record({
    kind: fc.constant("tcp" as const),
    sourcePort: port,
    destinationPort: port,
    sequence: word,
    acknowledgement: word,
    flags: fc.integer({ min: 0, max: 255 }),
    window: port,
    options: options.map((b) => Buffer.from(b)),
    payload: bytes(60),
  }),
  record({
    kind: fc.constant("udp" as const),
    sourcePort: port,
    destinationPort: port,
    checksum: fc.boolean(),
    payload: bytes(60),
  }),
  record({
    kind: fc.constant("icmp" as const),
    type: fc.integer({ min: 0, max: 255 }),
    code: fc.integer({ min: 0, max: 255 }),
    identifier: port,
    sequence: port,
    payload: bytes(60),
  }),
  record({
    kind: fc.constant("raw" as const),
    protocol: fc.constantFrom(2, 47, 50, 132),
    payload: bytes(60),
  }),
);

const packet: fc.Arbitrary<Packet> = record({
  ethernet: record({ destination: mac, source: mac }),
  ip: record({
    source: word,
    destination: word,
    ttl: fc.integer({ min: 0, max: 255 }),
    tos: fc.integer({ min: 0, max: 255 }),
    identification: port,
    dontFragment: fc.boolean(),
    moreFragments: fc.constant(false),
    fragmentOffset: fc.constant(0),
    options: options.map((b) => Buffer.from(b)),
  }),
  transport,
  padding: bytes(20),
});

test("a packet that is written and read again is the same, and its checksums are right", () => {
  fc.assert(
    fc.property(packet, (before) => {
      const frame = buildPacket(before);
      const after = parsePacket(frame);
      assert.deepEqual(after, { ok: true, packet: before });
      assert.ok(checksumsValid(frame));
    }),
  );
});

test("a fragment keeps its place in the larger packet, and its payload is not looked into", () => {
  const ip = { moreFragments: true, fragmentOffset: 185, dontFragment: false };
  fc.assert(
    fc.property(packet, bytes(40), (whole, payload) => {
      const before = {
        ...whole,
        ip: { ...whole.ip, ...ip },
        transport: { kind: "raw" as const, protocol: 6, payload },
      };
      assert.deepEqual(parsePacket(buildPacket(before)), { ok: true, packet: before });
    }),
  );
});

test("a changed bit in header or payload is found by the checksums, unless the sender made none", () => {
  const checked = packet.filter(({ transport: t }) => t.kind === "tcp" || t.kind === "icmp");
  fc.assert(
    fc.property(checked, fc.nat(), (before, where) => {
      const frame = buildPacket({ ...before, padding: Buffer.alloc(0) });
      const bit = 14 * 8 + (where % ((frame.length - 14) * 8));
      frame[bit >>> 3]! ^= 1 << (bit & 7);
      assert.equal(checksumsValid(frame), false);
    }),
  );
});

test("every truncation of a frame is refused rather than read beyond its end", () => {
  fc.assert(
    fc.property(packet, (before) => {
      const whole = buildPacket({ ...before, padding: Buffer.alloc(0) });
      for (let length = 0; length < whole.length; length++) {
        const parsed = parsePacket(whole.subarray(0, length));
        assert.deepEqual(parsed, { ok: false, reason: length < 14 ? "not-ipv4" : "malformed" });
      }
    }),
    { numRuns: 20 },
  );
});

test("headers that contradict themselves are malformed", () => {
  const frame = (change: (ip: Buffer) => void) => {
    const good = Buffer.from("0200000000010200000000020800450000140000000040fd0000c0000201c0000202", "hex");
    change(good.subarray(14));
    return parseIpv4(good);
  };
  assert.equal(frame(() => {}).ok, true);
  const malformed = { ok: false, reason: "malformed" };
  assert.deepEqual(
    frame((ip) => ip.writeUInt8(0x65, 0)),
    malformed,
    "version 6",
  );
  assert.deepEqual(
    frame((ip) => ip.writeUInt8(0x44, 0)),
    malformed,
    "a header of 16 bytes",
  );
  assert.deepEqual(
    frame((ip) => ip.writeUInt8(0x46, 0)),
    malformed,
    "a header longer than the packet",
  );
  assert.deepEqual(
    frame((ip) => ip.writeUInt16BE(19, 2)),
    malformed,
    "a total length under the header's",
  );
  assert.deepEqual(
    frame((ip) => ip.writeUInt16BE(21, 2)),
    malformed,
    "a total length beyond the frame",
  );
});

test("the checksum of the example in RFC 1071 is 0x220d", () => {
  assert.equal(checksum(Buffer.from("0001f203f4f5f6f7", "hex")), 0x220d);
});

test("the update of the example in RFC 1624 gives 0x0000, where RFC 1141 would have given 0xffff", () => {
  assert.equal(updateChecksum(0xdd2f, [0x5555], [0x3285]), 0x0000);
});

test("an updated checksum is the one that a new computation gives", () => {
  fc.assert(
    fc.property(fc.array(port, { minLength: 2, maxLength: 20 }), port, (before, changed) => {
      fc.pre(before.slice(1).some((w) => w !== 0));
      const data = (values: readonly number[]) => {
        const buffer = Buffer.alloc(values.length * 2);
        values.forEach((value, i) => {
          buffer.writeUInt16BE(value, i * 2);
        });
        return buffer;
      };
      const updated = updateChecksum(checksum(data(before)), [before[0]!], [changed]);
      assert.equal(updated, checksum(data([changed, ...before.slice(1)])));
    }),
  );
});

test("VXLAN that is written and read again is the same, and shorter than its header is refused", () => {
  const vxlan = { flags: 0x08, vni: 0x123456, frame: Buffer.from("frame") };
  const payload = buildVxlan(vxlan);
  assert.equal(payload.subarray(0, 8).toString("hex"), "0800000012345600");
  assert.deepEqual(parseVxlan(payload), vxlan);
  assert.equal(parseVxlan(payload.subarray(0, 7)), undefined);
});
