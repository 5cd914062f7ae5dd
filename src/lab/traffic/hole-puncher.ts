/**
 * One of two peers that punch a hole through their NATs, as ICE does (RFC 8445), from one local port.
 *
 *     node hole-puncher.ts --local PORT --server ADDRESS [--port 7007]     asks an echo server; writes {"event":"mapped","outside":"ADDRESS:PORT"}
 *     node hole-puncher.ts --local PORT --peer ADDRESS:PORT                sends to the peer until both have heard of each other;
 *                                                                          writes {"event":"open","from":"ADDRESS:PORT"}
 *
 * Exits with 1 when that has not happened after `--patience` ms (default 20,000).
 */
import { createSocket } from "node:dgram";
import { parseArgs } from "node:util";
import { emit } from "./json-lines.ts";
import { decodeProbe, encodeRequest } from "./probe-packet.ts";

const SEND_EVERY_MS = 100;

const { values } = parseArgs({
  options: {
    local: { type: "string" },
    server: { type: "string" },
    port: { type: "string", default: "7007" },
    peer: { type: "string" },
    patience: { type: "string", default: "20000" },
  },
});
const [host = "", port] = values.peer?.split(":") ?? [values.server, values.port];
const question = encodeRequest({ type: "probe", run: 1, flow: 1, sequence: 0 });
const socket = createSocket("udp4");
let heard = false;

function send(sent = () => {}): void {
  // To a peer: "I hear you" once that is so. An error is a lost packet.
  const packet = values.peer === undefined ? question : Buffer.from(heard ? "heard" : "hello");
  socket.send(packet, Number(port), host, sent);
}

function finish(code: number): void {
  clearInterval(sending);
  clearTimeout(patience);
  process.exitCode = code;
  socket.close();
}

socket.on("message", (packet, from) => {
  if (values.peer === undefined) {
    const answer = decodeProbe(packet);
    if (answer?.type !== "probe-answer") return;
    emit({ event: "mapped", outside: answer.outside });
    return finish(0);
  }
  heard = true;
  if (packet.toString() !== "heard") return;
  // The other side may not know yet that it is heard.
  socket.removeAllListeners("message");
  emit({ event: "open", from: `${from.address}:${from.port}` });
  send(() => finish(0));
});
socket.bind(Number(values.local));
const sending = setInterval(() => send(), SEND_EVERY_MS);
const patience = setTimeout(() => finish(1), Number(values.patience));
