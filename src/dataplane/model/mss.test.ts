import assert from "node:assert/strict";
import { test } from "node:test";
import { checksumsValid, parsePacket, TCP_FLAG } from "../packet.ts";
import { behaving, ENDPOINT, newBench, REMOTE } from "./example.ts";
import { replyTo } from "./scenario.ts";
import { buildSketch, tcp } from "./sketch.ts";
import { MTU, PLAN, planned } from "./world.ts";

const { syn, ack } = TCP_FLAG;

function opening(options: string, flags: number = syn, destination = REMOTE): Buffer {
  const ports = { sourcePort: 5000, destinationPort: 443 };
  return buildSketch({
    ip: { source: ENDPOINT, destination },
    transport: tcp({ ...ports, flags, options: Buffer.from(options, "hex") }),
  });
}

/** The options with which a packet left. */
function optionsOf(packet: Buffer | undefined): string {
  assert.ok(packet && checksumsValid(packet));
  const parsed = parsePacket(packet);
  assert.ok(parsed.ok && parsed.packet.transport.kind === "tcp");
  return parsed.packet.transport.options.toString("hex");
}

/** 1460, at each place of the header that an option can have, and what becomes of it at 1400. */
const PLACES = [
  ["020405b4", "02040578"],
  ["01020405b4010100", "0102040578010100"],
  ["0103030702040fff", "0103030702040578"],
  ["0802020405b40000", "0802020405780000"],
] as const;

test("a SYN announces no more than the gateway's clamp, wherever the option lies, and its checksum is right", () => {
  const node = newBench(behaving({ mssClamp: 1400 }));
  for (const [before, after] of PLACES) assert.equal(optionsOf(node.receive(opening(before)).packet), after);
});

test("the remote's SYN is clamped as well; other segments and smaller announcements are left alone", () => {
  const node = newBench(behaving({ mssClamp: 1400 }));
  const out = node.receive(opening("02040218"));
  assert.equal(optionsOf(out.packet), "02040218");
  const accepted = replyTo(opening("020405b4"), syn | ack)!;
  out.packet!.copy(accepted, 30, 26, 30);
  accepted.writeUInt16BE(out.packet!.readUInt16BE(34), 36);
  const back = node.receive(accepted, "outside").packet!;
  assert.equal(back.subarray(-4).toString("hex"), "02040578");
  assert.equal(optionsOf(node.receive(opening("020405b4", ack)).packet), "020405b4");
});

test("with PathMtu the clamp is what the route toward the receiver takes, also while its neighbour is not known", () => {
  const node = newBench(behaving({ mssClamp: "PathMtu" }));
  const fits = `0204${(MTU - 40).toString(16).padStart(4, "0")}`;
  for (const to of [REMOTE, planned(PLAN.silentRemotes, 1)])
    assert.equal(optionsOf(node.receive(opening("02042000", syn, to)).packet), fits);
});

test("without a clamp, and without the option, nothing is changed or added", () => {
  assert.equal(optionsOf(newBench().receive(opening("02042000")).packet), "02042000");
  const node = newBench(behaving({ mssClamp: 600 }));
  for (const options of ["", "01010100", "0002040fff000000", "0201040fff000000"]) {
    assert.equal(optionsOf(node.receive(opening(options)).packet), options);
  }
});
