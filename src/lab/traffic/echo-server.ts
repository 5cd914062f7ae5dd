/**
 * The outside of a lab: `node echo-server.ts [--udp PORT] [--tcp PORT] [--http PORT]` (7007, 7007, 80).
 *
 * - UDP: answers probes (probe-packet.ts) with what it knows of their flow, and sends anything else back as it is.
 * - TCP: greets with the line `{"client":"ADDRESS:PORT"}`, then sends everything back.
 * - HTTP: `GET /bytes/N` (the first N bytes of payload.ts), `GET /whoami` (the client's address:port), `POST /upload` (the body's length and
 *   SHA-256), `GET /flows` (all flows of probes). Every answer has the client's address:port in `x-client`.
 *
 * Ends on SIGTERM after writing `{"event":"flows","flows":[…]}`.
 */
import { createHash } from "node:crypto";
import { createSocket } from "node:dgram";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { type SequenceSet, sequenceSet } from "./flow-tally.ts";
import { emit } from "./json-lines.ts";
import { payload } from "./payload.ts";
import { decodeProbe, encodeAnswer, type ProbeRequest } from "./probe-packet.ts";

/** A flow of probes as the server saw it. */
export interface ServerFlow {
  readonly run: number;
  readonly flow: number;
  readonly received: number;
  readonly duplicates: number;
  /** All address:port that it came from, in the order of their first packets. */
  readonly outside: readonly string[];
  /** When it was seen at each of them, first and last; milliseconds since 1970. */
  readonly spans: readonly { readonly outside: string; readonly from: number; readonly to: number }[];
}

interface Flow {
  readonly received: SequenceSet;
  readonly outside: Map<string, { readonly from: number; to: number }>;
  duplicates: number;
}

/** Beyond this the oldest flows are forgotten. */
const MAX_FLOWS = 100_000;
const MAX_BODY = 1 << 30;

const flows = new Map<string, Flow>();

function countProbe(probe: ProbeRequest, outside: string): Flow {
  const key = `${probe.run}/${probe.flow}`;
  const flow = flows.get(key) ?? { received: sequenceSet(), outside: new Map(), duplicates: 0 };
  flows.set(key, flow);
  if (flows.size > MAX_FLOWS) flows.delete(flows.keys().next().value ?? key);
  const now = performance.timeOrigin + performance.now();
  const span = flow.outside.get(outside);
  if (span) span.to = now;
  else flow.outside.set(outside, { from: now, to: now });
  if (probe.type === "probe" && !flow.received.add(probe.sequence)) flow.duplicates++;
  return flow;
}

function listFlows(): ServerFlow[] {
  return [...flows].map(([key, { received, duplicates, outside }]) => {
    const [run, flow] = key.split("/").map(Number) as [number, number];
    const spans = [...outside].map(([address, { from, to }]) => ({ outside: address, from, to }));
    return { run, flow, received: received.size, duplicates, outside: [...outside.keys()], spans };
  });
}

function serveUdp(port: number): void {
  const socket = createSocket({ type: "udp4", recvBufferSize: 4 << 20 });
  socket.on("message", (packet, from) => {
    const probe = decodeProbe(packet);
    // An answer that cannot be sent (the route is gone) is a lost packet, which is what the prober counts.
    const reply = (bytes: Buffer) => socket.send(bytes, from.port, from.address, () => {});
    if (!probe) return reply(packet);
    if (probe.type !== "probe" && probe.type !== "query") return;
    const outside = `${from.address}:${from.port}`;
    const { received, duplicates } = countProbe(probe, outside);
    const type = `${probe.type}-answer` as const;
    reply(encodeAnswer({ ...probe, type, received: received.size, duplicates, outside }, packet.length));
  });
  socket.bind(port, "0.0.0.0");
}

function clientOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`;
}

function serveTcp(port: number): void {
  createTcpServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.write(`${JSON.stringify({ client: clientOf(socket) })}\n`);
    socket.pipe(socket);
  }).listen(port, "0.0.0.0");
}

function serveHttp(port: number): void {
  createHttpServer((request, response) => {
    response.setHeader("x-client", clientOf(request.socket));
    answerHttp(request, response).catch(() => response.destroy());
  }).listen(port, "0.0.0.0");
}

async function answerHttp(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? "/";
  const length = Number(/^\/bytes\/(\d{1,10})$/.exec(path)?.[1] ?? Number.NaN);
  if (request.method === "GET" && length <= MAX_BODY) {
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": length });
    return pipeline(Readable.from(payload(length)), response);
  }
  if (request.method === "GET" && path === "/whoami") {
    response.end(`${clientOf(request.socket)}\n`);
    return;
  }
  if (request.method === "GET" && path === "/flows") {
    response.setHeader("content-type", "application/json");
    response.end(`${JSON.stringify(listFlows())}\n`);
    return;
  }
  if (request.method === "POST" && path === "/upload") {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const part of request as AsyncIterable<Buffer>) {
      hash.update(part);
      bytes += part.length;
    }
    response.setHeader("content-type", "application/json");
    response.end(`${JSON.stringify({ bytes, sha256: hash.digest("hex") })}\n`);
    return;
  }
  response.writeHead(404).end("try /whoami, /bytes/N, /flows, or POST /upload\n");
}

function main(): void {
  const { values } = parseArgs({
    options: {
      udp: { type: "string", default: "7007" },
      tcp: { type: "string", default: "7007" },
      http: { type: "string", default: "80" },
    },
  });
  serveUdp(Number(values.udp));
  serveTcp(Number(values.tcp));
  serveHttp(Number(values.http));
  process.on("SIGTERM", () => {
    emit({ event: "flows", flows: listFlows() });
    process.exit(0);
  });
}

main();
