/** Hairpins: from inside to a public address of ours (RFC 4787 REQ-9, RFC 5382 REQ-8, RFC 5508 REQ-7). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress } from "../../model/ipv4.ts";
import { checksumsValid, parsePacket, TCP_FLAG } from "../packet.ts";
import { datagram, ENDPOINT, EXAMPLE, OTHER_ENDPOINT, PUBLIC, REMOTE, segment, slotOf } from "./example.ts";
import { type Cloud, type Delivery, deliver, newCloud } from "./fabric.ts";
import { errorAbout } from "./scenario.ts";
import { moveSlot, PLAN, planned, type World } from "./world.ts";

const FLOATING = planned(PLAN.publics, 9);
const { syn, ack } = TCP_FLAG;

/** The endpoint's flows are node 1's, the other endpoint's node 2's; packets come to node 0. */
const APART: World = moveSlot(moveSlot(EXAMPLE, slotOf(ENDPOINT), 1), slotOf(OTHER_ENDPOINT), 2);
const WITH_STATICS: World = {
  ...APART,
  statics: {
    floatingAddresses: [
      { namespace: "default", name: "host", address: formatAddress(FLOATING), inside: "10.2.0.9" },
    ],
    portForwards: [
      {
        ...{ namespace: "default", name: "web", protocol: "tcp", address: formatAddress(PUBLIC) },
        ...{ port: 80, count: 1, inside: formatAddress(OTHER_ENDPOINT), insidePort: 8080 },
      },
    ],
  },
};

/** What left the cell, as text. */
function left({ end }: Delivery): string {
  if (end.kind === "dropped") return end.counter;
  assert.ok(end.kind !== "held");
  assert.ok(checksumsValid(end.packet));
  const parsed = parsePacket(end.packet);
  assert.ok(parsed.ok && (parsed.packet.transport.kind === "udp" || parsed.packet.transport.kind === "tcp"));
  const { ip, transport } = parsed.packet;
  return `${formatAddress(ip.source)}:${transport.sourcePort} > ${formatAddress(ip.destination)}:${transport.destinationPort}`;
}

/** Sends in turn, each through the cell as the one before has left it. */
function send(cloud: Cloud, frame: Buffer, role: "inside" | "outside" = "inside") {
  const delivery = deliver(cloud, 0, role, frame);
  return { cloud: delivery.cloud, said: left(delivery), delivery };
}

/** The public port of an endpoint's UDP mapping, as a remote sees it. */
function mapped(cloud: Cloud, from: number): { cloud: Cloud; port: number } {
  const sent = send(cloud, datagram({ from, to: REMOTE }));
  return { cloud: sent.cloud, port: Number(/:(\d+) >/.exec(sent.said)?.[1]) };
}

test("two endpoints behind one address talk by their public ports, though other nodes own their slots", () => {
  const one = mapped(newCloud(APART), ENDPOINT);
  const other = mapped(one.cloud, OTHER_ENDPOINT);
  const there = (cloud: Cloud) =>
    send(cloud, datagram({ from: ENDPOINT, to: PUBLIC, destinationPort: other.port }));
  const back = (cloud: Cloud) =>
    send(cloud, datagram({ from: OTHER_ENDPOINT, to: PUBLIC, destinationPort: one.port }));
  const first = there(other.cloud);
  assert.equal(first.said, "drop_no_session", "the filter wants to see the other's packet first");
  const answer = back(first.cloud);
  assert.equal(answer.said, `203.0.113.1:${other.port} > 10.1.0.1:5000`);
  assert.equal(there(answer.cloud).said, `203.0.113.1:${one.port} > 10.1.0.2:5000`);
  assert.deepEqual(
    answer.delivery.path.map(({ node }) => node),
    [0, 2, 1],
    "out through its own owner, in through the other's",
  );
  assert.deepEqual(answer.delivery.path[1]!.counters.slice(0, 3), [
    "unwrapped",
    "sessions_created",
    "translated_out",
  ]);
});

test("a forward and a floating address are reached from inside too, and see a public source", () => {
  const connected = send(newCloud(WITH_STATICS), segment(syn, { to: PUBLIC, destinationPort: 80 }));
  const port = Number(/:(\d+) >/.exec(connected.said)?.[1]);
  assert.equal(connected.said, `203.0.113.1:${port} > 10.1.0.2:8080`);
  const accepted = segment(syn | ack, {
    from: OTHER_ENDPOINT,
    sourcePort: 8080,
    to: PUBLIC,
    destinationPort: port,
  });
  const answered = send(connected.cloud, accepted);
  assert.equal(answered.said, "203.0.113.1:80 > 10.1.0.1:5000");
  const greeted = send(answered.cloud, datagram({ to: FLOATING, destinationPort: 53 }));
  assert.match(greeted.said, /^203\.0\.113\.1:\d+ > 10\.2\.0\.9:53$/);
});

test("an error about a hairpin comes back to who sent it, in its own words", () => {
  const connected = send(newCloud(WITH_STATICS), segment(syn, { to: PUBLIC, destinationPort: 80 }));
  assert.equal(connected.delivery.end.kind, "left");
  if (connected.delivery.end.kind !== "left") return;
  const error = errorAbout(connected.delivery.end.packet, {
    type: 3,
    code: 1,
    quote: 28,
    router: undefined,
  })!;
  const { end } = deliver(connected.cloud, 0, "inside", error);
  assert.ok(end.kind === "left" && checksumsValid(end.packet));
  assert.equal(formatAddress(end.packet.readUInt32BE(14 + 16)), "10.1.0.1");
  const quoted = 14 + 20 + 8;
  assert.equal(formatAddress(end.packet.readUInt32BE(quoted + 12)), "10.1.0.1");
  assert.equal(end.packet.readUInt16BE(quoted + 20), 5000);
  assert.equal(end.packet.readUInt16BE(quoted + 22), 80);
});

test("with one interface for everything, what comes from inside to a public address is a hairpin all the same", () => {
  const world = { ...WITH_STATICS, oneInterface: true };
  const { end } = deliver(newCloud(world), 0, "both", segment(syn, { to: PUBLIC, destinationPort: 80 }));
  assert.ok(end.kind === "left");
  assert.equal(formatAddress(end.packet.readUInt32BE(14 + 12)), "203.0.113.1");
});
