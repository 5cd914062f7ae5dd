/**
 * Runs on a host of the lab and talks in UDP datagrams that are too large for one packet. `serve PORT` answers each with itself; `ask OWN ADDRESS PORT
 * FIRST COUNT ORDER` asks COUNT times, from the ports after FIRST, and waits for the answers. With the order `reverse` both cut their
 * packets themselves, and send the last fragment first; with `lone` nothing but later fragments is sent, and nothing is waited for.
 */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import koffi from "koffi";
import { buildSketch, partOfPacket, udp } from "../../src/dataplane/model/sketch.ts";
import { ETHERNET_BYTES } from "../../src/dataplane/packet.ts";
import { address } from "../../src/model/ipv4.ts";

const BYTES = 8000;
const UNITS_OF_PART = 185;
const REVERSE = 1;
const PATIENCE_MS = 30_000;

const libc = koffi.load("libc.so.6");
const openSocket = libc.func("int socket(int family, int type, int protocol)");
const sendTo = libc.func(
  "int64_t sendto(int fd, void *data, size_t length, int flags, void *to, uint32_t toLength)",
);
const [AF_INET, SOCK_RAW, IPPROTO_RAW] = [2, 3, 255];

interface Ends {
  readonly source: { readonly address: string; readonly port: number };
  readonly destination: { readonly address: string; readonly port: number };
}

let raw: number | undefined;
let identification = process.pid & 0x7fff;

/** Sends fragments of a datagram, whose own kernel does not cut it. */
function sendParts(
  { source, destination }: Ends,
  payload: Buffer,
  choose: (parts: Buffer[]) => Buffer[],
): void {
  raw ??= openSocket(AF_INET, SOCK_RAW, IPPROTO_RAW) as number;
  identification = (identification % 0xffff) + 1;
  const whole = buildSketch({
    ip: { source: address(source.address), destination: address(destination.address) },
    transport: udp({ sourcePort: source.port, destinationPort: destination.port, payload }),
  });
  const count = Math.ceil((payload.length + 8) / (8 * UNITS_OF_PART));
  const parts = Array.from({ length: count }, (_, i) =>
    partOfPacket(whole, { identification, from: i * UNITS_OF_PART, to: (i + 1) * UNITS_OF_PART }),
  );
  const to = Buffer.alloc(16);
  to.writeUInt16LE(AF_INET, 0);
  to.writeUInt32BE(address(destination.address), 4);
  for (const part of choose(parts)) {
    const packet = part.subarray(ETHERNET_BYTES);
    if (sendTo(raw, packet, packet.length, 0, to, to.length) !== packet.length) {
      throw new Error(`cannot send a fragment (errno ${koffi.errno()})`);
    }
  }
}

async function open(port: number): Promise<Socket> {
  const socket = createSocket("udp4").bind(port);
  await once(socket, "listening");
  return socket;
}

async function serve(own: string, port: number): Promise<void> {
  const socket = await open(port);
  socket.on("message", (message, from) => {
    if (message[0] !== REVERSE) return socket.send(message, from.port, from.address);
    const ends = { source: { address: own, port }, destination: from };
    sendParts(ends, message, (parts) => parts.reverse());
  });
}

async function ask(own: string, server: string, port: number, from: number, order: string): Promise<void> {
  const socket = await open(from);
  const ends = { source: { address: own, port: from }, destination: { address: server, port } };
  const payload = Buffer.alloc(BYTES, from & 0xff);
  payload.writeUInt8(order === "reverse" ? REVERSE : 0, 0);
  const answered = once(socket, "message", { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (order === "reverse") sendParts(ends, payload, (parts) => parts.reverse());
  else socket.send(payload, port, server);
  const [answer] = (await answered) as [Buffer];
  socket.close();
  if (!answer.equals(payload)) throw new Error(`another answer to the question from port ${from}`);
}

const [mode = "", own = "", ...rest] = process.argv.slice(2);
if (mode === "serve") {
  await serve(own, Number(rest[0]));
} else {
  const [server = "", port, first, count, order = ""] = rest;
  for (let i = 0; i < Number(count); i++) {
    const from = Number(first) + i;
    if (order === "lone") {
      const ends = {
        source: { address: own, port: from },
        destination: { address: server, port: Number(port) },
      };
      sendParts(ends, Buffer.alloc(BYTES), ([, second]) => (second ? [second] : []));
    } else {
      await ask(own, server, Number(port), from, order);
    }
  }
  console.log(`${count} done`);
}
