import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import fc from "fast-check";
import { until } from "../store/fixtures.ts";
import { recordLogs } from "./fixtures.ts";
import { startPeerProber } from "./peer-prober.ts";
import { decodeProbe, encodeProbe, PROBE_BYTES } from "./probe-packet.ts";

const NODE = "127.83.0.1";
const PEERS = [
  { name: "b", address: "127.83.0.2" },
  { name: "c", address: "127.83.0.3" },
] as const;

/** A socket that answers probes as a peer's dataplane does: the same payload, from the VXLAN port. */
async function answerProbes(address: string, port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (message, from) => socket.send(message, from.port, from.address));
  socket.bind({ address, port });
  await once(socket, "listening");
  return socket;
}

test("a peer is alive while its dataplane answers, dead when it stops, and alive again when it is back", async () => {
  let changes = 0;
  const b = await answerProbes(PEERS[0].address, 0);
  const port = b.address().port;
  let c = await answerProbes(PEERS[1].address, port);
  const prober = startPeerProber({
    logger: recordLogs().logger,
    intervalMs: 25,
    onChange: () => changes++,
  });
  try {
    prober.follow({ address: NODE, port, peers: PEERS });
    await until(() => prober.alive().join() === "b,c", "both peers are alive");
    c.close();
    await until(() => prober.alive().join() === "b", "the silent one is dead");
    c = await answerProbes(PEERS[1].address, port);
    await until(() => prober.alive().join() === "b,c", "it is alive again");
    prober.follow({ address: NODE, port, peers: [PEERS[1]] });
    assert.deepEqual(prober.alive(), ["c"]);
    assert.ok(changes >= 4, `${changes} changes were told`);
  } finally {
    await prober.close();
    b.close();
    c.close();
  }
});

test("answers that are not from the peer's VXLAN port, or not to this run's probes, make nobody alive", async () => {
  const b = createSocket("udp4");
  const other = createSocket("udp4");
  b.bind({ address: PEERS[0].address, port: 0 });
  other.bind({ address: PEERS[0].address, port: 0 });
  await Promise.all([once(b, "listening"), once(other, "listening")]);
  let asked = 0;
  b.on("message", (message, from) => {
    asked++;
    const probe = decodeProbe(message);
    assert.ok(probe);
    other.send(message, from.port, from.address);
    b.send(encodeProbe({ ...probe, run: (probe.run + 1) >>> 0 }), from.port, from.address);
    b.send(encodeProbe({ ...probe, sequence: probe.sequence + 1000 }), from.port, from.address);
    b.send(Buffer.from("natto"), from.port, from.address);
  });
  const prober = startPeerProber({ logger: recordLogs().logger, intervalMs: 5, onChange: () => {} });
  try {
    prober.follow({ address: NODE, port: b.address().port, peers: [PEERS[0]] });
    await until(() => asked > 20, "the peer was asked often");
    assert.deepEqual(prober.alive(), []);
  } finally {
    await prober.close();
    b.close();
    other.close();
  }
});

test("an own address that cannot be had yet stops nothing, and the log says so once", async () => {
  const b = await answerProbes(PEERS[0].address, 0);
  const { port } = b.address();
  const { logger, texts } = recordLogs();
  const prober = startPeerProber({ logger, intervalMs: 5, onChange: () => {} });
  try {
    prober.follow({ address: "192.0.2.77", port, peers: [PEERS[0]] });
    await until(() => texts().some((text) => text.includes("192.0.2.77")), "it is told");
    prober.follow({ address: NODE, port, peers: [PEERS[0]] });
    await until(() => prober.alive().join() === "b", "the peer is alive");
    assert.equal(texts().filter((text) => text.includes("192.0.2.77")).length, 1);
  } finally {
    await prober.close();
    b.close();
  }
});

test("a probe is a VXLAN header with VNI 0xffffff and comes back as it was sent", () => {
  const word = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(
    fc.property(word, word, (run, sequence) => {
      const packet = encodeProbe({ run, sequence });
      assert.equal(packet.length, PROBE_BYTES);
      assert.equal(packet.subarray(0, 8).toString("hex"), "08000000ffffff00");
      assert.deepEqual(decodeProbe(packet), { run, sequence });
    }),
  );
});
