import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checksumsValid, parseIpv4 } from "../packet.ts";
import { buildSketch, udp } from "./sketch.ts";
import { translate } from "./translate.ts";

const SOURCE = 0x0a010001;
const PUBLIC = 0xcb007101;
const CHECKSUM_AT = 40;

function datagram(payload: Buffer, checksum: boolean): Buffer {
  const transport = udp({ sourcePort: 1, destinationPort: 2, checksum, payload });
  return buildSketch({ ip: { source: SOURCE, destination: 0xc6336401 }, transport });
}

function translated(frame: Buffer): Buffer {
  const parsed = parseIpv4(frame);
  assert.ok(parsed.ok);
  return translate(frame, parsed.ip, "outbound", { address: PUBLIC, port: 1024 });
}

test("a UDP checksum of 0 means none, and stays so (RFC 768)", () => {
  assert.equal(translated(datagram(Buffer.from("any"), false)).readUInt16BE(CHECKSUM_AT), 0);
});

test("a UDP checksum that becomes 0 is sent as 0xffff (RFC 768)", () => {
  // One word of the payload that makes the checksum of the translated packet 0.
  const plain = translated(datagram(Buffer.alloc(2), true)).readUInt16BE(CHECKSUM_AT);
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(plain);
  const frame = translated(datagram(payload, true));
  assert.equal(frame.readUInt16BE(CHECKSUM_AT), 0xffff);
  assert.ok(checksumsValid(frame));
});

test("a wrong checksum stays wrong: the damage is not covered up", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xfffe }), fc.uint8Array({ maxLength: 30 }), (damage, payload) => {
      const frame = datagram(Buffer.from(payload), true);
      const wrong = (frame.readUInt16BE(CHECKSUM_AT) + damage) % 0xffff;
      fc.pre(wrong !== 0);
      frame.writeUInt16BE(wrong, CHECKSUM_AT);
      assert.equal(checksumsValid(frame), false);
      assert.equal(checksumsValid(translated(frame)), false);
    }),
  );
});
