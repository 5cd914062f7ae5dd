/**
 * Malformed packets and the XDP program itself: whatever is wrong with a packet of an enrolled source, it never leaves as it is, neither
 * by the program nor by the kernel. (The differential test damages packets at random; here every single place has its turn.)
 */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { datagram, ENDPOINT, EXAMPLE, PUBLIC, ping, REMOTE, segment } from "./model/example.ts";
import { wrapAtPeer } from "./model/scenario.ts";
import type { Role } from "./model/state.ts";
import { ETHERNET_BYTES, TCP_FLAG } from "./packet.ts";
import {
  layOutNetwork,
  loadProgram,
  type ProgramRun,
  type ProgramUnderTest,
} from "./testing/program-under-test.ts";
import { enterSandbox } from "./testing/sandbox.ts";

const SOURCE_AT = ETHERNET_BYTES + 12;
const IDENTIFICATION_AT = ETHERNET_BYTES + 4;
const FRAMES: Readonly<Record<string, Buffer>> = {
  "TCP segment": segment(TCP_FLAG.syn),
  "UDP datagram": datagram(),
  "echo request": ping(7),
};

let program: ProgramUnderTest;

before(() => {
  const sandbox = enterSandbox();
  layOutNetwork();
  program = loadProgram(sandbox, EXAMPLE.maxRecords);
  program.reset(EXAMPLE, 0);
});

/** What came of a packet must not be the packet of an inside host on its way out. */
function assertNotPassedOn({ verdict, packet }: ProgramRun, what: string): void {
  if (verdict === "drop") return;
  assert.notEqual(packet.readUInt32BE(SOURCE_AT), ENDPOINT, `${what}: ${verdict} as it came`);
}

/** The frame with its end cut off, and the IP packet's length either as it was or as it is now. */
function cut(frame: Buffer, length: number, honest: boolean): Buffer {
  const copy = Buffer.from(frame.subarray(0, length));
  if (honest && length >= ETHERNET_BYTES + 4) copy.writeUInt16BE(length - ETHERNET_BYTES, ETHERNET_BYTES + 2);
  return copy;
}

for (const [name, frame] of Object.entries(FRAMES)) {
  test(`${name}: one that is cut off at any byte is dropped, or translated if its headers are whole`, () => {
    for (let length = ETHERNET_BYTES; length < frame.length; length++) {
      const lying = program.run("inside", cut(frame, length, false));
      assert.deepEqual([lying.verdict, lying.counters], ["drop", { drop_malformed: 1 }], `${length} bytes`);
      const honest = program.run("inside", cut(frame, length, true));
      if (length >= ETHERNET_BYTES + 20) assertNotPassedOn(honest, `${length} bytes`);
      else assert.equal(honest.verdict, "drop");
    }
  });

  test(`${name}: one with any value in any byte of its IP header never leaves as it came`, () => {
    let identification = 0;
    for (let at = ETHERNET_BYTES; at < ETHERNET_BYTES + 20; at++) {
      // Another source or destination is another packet; a TTL of 0 or 1 is the kernel's, which does not forward it either.
      if ((at >= SOURCE_AT && at < SOURCE_AT + 8) || at === ETHERNET_BYTES + 8) continue;
      for (const value of [0x00, 0x01, 0x0f, 0x20, 0x3f, 0x40, 0x46, 0x4f, 0x55, 0x80, 0xff]) {
        const changed = Buffer.from(frame);
        // Each a datagram of its own: a fragment of one of which another is held goes on by way of Natto's own interfaces.
        changed.writeUInt16BE(identification++, IDENTIFICATION_AT);
        changed.writeUInt8(value, at);
        assertNotPassedOn(program.run("inside", changed), `byte ${at} = ${value}`);
      }
    }
  });
}

test("IP options, right or wrong, do not hide a packet's source", () => {
  for (const options of ["01010101", "83070400000000", "44", "ffffffffffffffff", "0000000000000000000000"]) {
    const bytes = Buffer.from(options.padEnd(Math.ceil(options.length / 8) * 8, "0"), "hex");
    const plain = datagram();
    const frame = Buffer.concat([
      plain.subarray(0, ETHERNET_BYTES + 20),
      bytes,
      plain.subarray(ETHERNET_BYTES + 20),
    ]);
    frame.writeUInt8(0x45 + bytes.length / 4, ETHERNET_BYTES);
    frame.writeUInt16BE(frame.length - ETHERNET_BYTES, ETHERNET_BYTES + 2);
    const run = program.run("inside", frame);
    assert.equal(run.verdict, "redirect", options);
    assert.equal(run.packet.readUInt32BE(SOURCE_AT), PUBLIC);
  }
});

test("a wrong checksum stays wrong: a NAT mends by differences, and hides no damage", () => {
  const frame = datagram();
  const right = frame.readUInt16BE(ETHERNET_BYTES + 26);
  frame.writeUInt16BE(right ^ 0x1234, ETHERNET_BYTES + 26);
  const good = program.run("inside", datagram());
  const bad = program.run("inside", frame);
  assert.equal(bad.verdict, "redirect");
  const sums = [good, bad].map(({ packet }) => packet.readUInt16BE(ETHERNET_BYTES + 26));
  assert.notEqual(sums[0], sums[1]);
});

test("a wrap that is cut off, or changed in any byte of its headers, carries nothing on as it came", () => {
  const wrapped = wrapAtPeer(EXAMPLE, 0, 0, datagram(), "outbound")!;
  const role: Role = "inside";
  assert.equal(program.run(role, wrapped).verdict, "redirect", "the whole one is taken");
  for (let length = ETHERNET_BYTES; length < wrapped.length; length++) {
    for (const honest of [false, true]) {
      const run = program.run(role, cut(wrapped, length, honest));
      if (run.verdict !== "drop") assert.notEqual(run.verdict, "redirect", `${length} bytes`);
    }
  }
  // From the IP header to the inner Ethernet header; the inner packet has had its turn above.
  for (let at = ETHERNET_BYTES; at < 50 + ETHERNET_BYTES; at++) {
    for (const value of [0x00, 0x01, 0x7f, 0xff]) {
      if (wrapped.readUInt8(at) === value) continue;
      const changed = Buffer.from(wrapped);
      changed.writeUInt8(value, at);
      assertNotPassedOn(program.run(role, changed), `byte ${at} = ${value}`);
    }
  }
});

test("what comes to a public address malformed does not get in", () => {
  const frame = datagram({ from: REMOTE, to: PUBLIC, destinationPort: 2000 });
  for (let length = ETHERNET_BYTES; length < frame.length; length++) {
    for (const honest of [false, true]) {
      assert.equal(program.run("outside", cut(frame, length, honest)).verdict, "drop", `${length} bytes`);
    }
  }
});
