import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress } from "../../model/ipv4.ts";
import { slotPorts } from "../../model/slots.ts";
import { checksumsValid, ETHERNET_BYTES, parsePacket, TCP_FLAG } from "../packet.ts";
import {
  type Bench,
  datagram,
  ENDPOINT,
  type Ends,
  EXAMPLE,
  newBench,
  OTHER_ENDPOINT,
  PUBLIC,
  ping,
  REMOTE,
  segment,
  slotOf,
} from "./example.ts";
import { errorAbout, replyTo } from "./scenario.ts";
import type { Role } from "./state.ts";
import { PLAN, planned, type World } from "./world.ts";

const { syn, ack } = TCP_FLAG;
const FLOATING = planned(PLAN.publics, 9);
const FLOATING_HOST = OTHER_ENDPOINT;
/** The port that the endpoint's flows would like best, and that a forward takes. */
const TAKEN = slotPorts(slotOf(ENDPOINT).number, EXAMPLE.gateways[0]!.portsPerSlot).first;

const names = (name: string) => ({ namespace: "default", name });
const WORLD: World = {
  ...EXAMPLE,
  statics: {
    floatingAddresses: [
      { ...names("host"), address: formatAddress(FLOATING), inside: formatAddress(FLOATING_HOST) },
    ],
    portForwards: [
      {
        ...names("web"),
        protocol: "tcp",
        address: formatAddress(PUBLIC),
        port: 80,
        count: 3,
        inside: formatAddress(ENDPOINT),
        insidePort: 8080,
      },
      {
        ...names("taken"),
        protocol: "udp",
        address: formatAddress(PUBLIC),
        port: TAKEN,
        count: 1,
        inside: formatAddress(ENDPOINT),
        insidePort: 53,
      },
    ],
  },
};

/** What comes out for a packet, as text; its checksums must be right. */
function seen(bench: Bench, frame: Buffer, role: Role): string {
  const { packet, verdict, counters } = bench.receive(frame, role);
  if (!packet || verdict.kind !== "redirect") return counters.join();
  assert.ok(checksumsValid(packet));
  const parsed = parsePacket(packet);
  assert.ok(parsed.ok);
  const { ip, transport } = parsed.packet;
  const [source, destination] = [ip.source, ip.destination].map(formatAddress);
  if (transport.kind === "raw") return `${source} > ${destination}`;
  if (transport.kind === "icmp")
    return `${source} > ${destination} type ${transport.type} id ${transport.identifier}`;
  return `${source}:${transport.sourcePort} > ${destination}:${transport.destinationPort}`;
}

const from = (ends: Ends) => ({ sourcePort: 40_000, ...ends });

test("a floating address is its host's in both directions, whoever begins, and leaves no session behind", () => {
  const bench = newBench(WORLD);
  const there = segment(syn, from({ from: REMOTE, to: FLOATING, destinationPort: 22 }));
  assert.equal(seen(bench, there, "outside"), "198.51.100.1:40000 > 10.1.0.2:22");
  const back = segment(ack, { from: FLOATING_HOST, sourcePort: 22, destinationPort: 40_000 });
  assert.equal(seen(bench, back, "inside"), "203.0.113.9:22 > 198.51.100.1:40000");
  assert.equal(
    seen(bench, datagram({ from: FLOATING_HOST }), "inside"),
    "203.0.113.9:5000 > 198.51.100.1:443",
  );
  assert.equal(bench.state().records.size, 0);
});

test("a floating address answers pings, and errors about its packets find its host", () => {
  const bench = newBench(WORLD);
  const question = ping(7, { from: REMOTE, to: FLOATING });
  assert.equal(seen(bench, question, "outside"), "198.51.100.1 > 10.1.0.2 type 8 id 7");
  const answer = ping(7, { from: FLOATING_HOST, to: REMOTE }, 0);
  const left = bench.receive(answer, "inside").packet!;
  assert.equal(seen(bench, answer, "inside"), "203.0.113.9 > 198.51.100.1 type 0 id 7");
  const complaint = errorAbout(left, { type: 3, code: 1, quote: 28, router: undefined })!;
  const told = bench.receive(complaint, "outside").packet!;
  assert.ok(checksumsValid(told));
  assert.equal(told.readUInt32BE(ETHERNET_BYTES + 16), FLOATING_HOST);
  assert.equal(
    told.readUInt32BE(ETHERNET_BYTES + 28 + 12),
    FLOATING_HOST,
    "the quoted packet is the host's own again",
  );
});

test("every fragment of a floating address passes, since none needs a port", () => {
  const bench = newBench(WORLD);
  const whole = datagram({ from: FLOATING_HOST }, Buffer.alloc(64, 1));
  for (const fragmentation of [0x2000, 0x2003, 0x0006]) {
    const part = Buffer.from(whole);
    part.writeUInt16BE(fragmentation, ETHERNET_BYTES + 6);
    const { packet, verdict } = bench.receive(part, "inside");
    assert.equal(verdict.kind, "redirect");
    assert.equal(packet!.readUInt32BE(ETHERNET_BYTES + 12), FLOATING);
    const checksumAt = ETHERNET_BYTES + 26;
    const untouched = packet!.readUInt16BE(checksumAt) === part.readUInt16BE(checksumAt);
    assert.equal(untouched, fragmentation !== 0x2000, "the checksum is in the first alone");
  }
});

test("a forwarded range keeps its order, and what comes in on an address goes out on it", () => {
  const bench = newBench(WORLD);
  for (const offset of [0, 1, 2]) {
    const there = segment(syn, from({ from: REMOTE, to: PUBLIC, destinationPort: 80 + offset }));
    assert.equal(seen(bench, there, "outside"), `198.51.100.1:40000 > 10.1.0.1:${8080 + offset}`);
    const back = segment(syn | ack, { sourcePort: 8080 + offset, destinationPort: 40_000 });
    assert.equal(seen(bench, back, "inside"), `203.0.113.1:${80 + offset} > 198.51.100.1:40000`);
  }
  const beyond = segment(syn, from({ from: REMOTE, to: PUBLIC, destinationPort: 83 }));
  assert.equal(seen(bench, beyond, "outside"), "drop_no_session");
  assert.equal(bench.state().records.size, 0);
});

test("a forwarded port is given to nobody else", () => {
  const bench = newBench(WORLD);
  const sent = bench.receive(datagram({ sourcePort: TAKEN })).packet!;
  assert.notEqual(sent.readUInt16BE(ETHERNET_BYTES + 20), TAKEN);
  const tcp = bench.receive(segment(syn, { sourcePort: TAKEN })).packet!;
  assert.equal(tcp.readUInt16BE(ETHERNET_BYTES + 20), TAKEN, "the forward is of another protocol");
});

test("a session from before goes on until it ends", () => {
  const bench = newBench(EXAMPLE);
  const sent = bench.receive(datagram({ from: FLOATING_HOST })).packet!;
  bench.become(WORLD);
  assert.equal(
    seen(bench, datagram({ from: FLOATING_HOST }), "inside"),
    `203.0.113.1:${sent.readUInt16BE(ETHERNET_BYTES + 20)} > 198.51.100.1:443`,
  );
  assert.match(seen(bench, replyTo(sent, 0)!, "outside"), /> 10\.1\.0\.2:5000$/);
});

test("what a static mapping cannot carry is dropped, never passed on as it is", () => {
  const bench = newBench(WORLD);
  const gre = datagram({ from: FLOATING_HOST });
  gre.writeUInt8(47, ETHERNET_BYTES + 9);
  assert.equal(seen(bench, gre, "inside"), "drop_unsupported");
  const short = segment(syn, { from: FLOATING_HOST });
  short.writeUInt16BE(30, ETHERNET_BYTES + 2);
  assert.equal(seen(bench, short, "inside"), "drop_malformed");
});
