/** What programs expect of a NAT: names by UDP and TCP, many requests on one connection, uploads past a narrow link outside, connections that are idle for long. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import {
  counterGrows,
  counters,
  gatewayYaml,
  leavesNothing,
  run,
  SERVER,
  until,
  useCloud,
} from "./fixture.ts";

/** Answers every name with 192.0.2.1: by UDP only that it should be asked for by TCP. */
const NAME_SERVER = `
  const answer = (query, truncated) => {
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const header = Buffer.from([query[0], query[1], truncated ? 0x82 : 0x80, 0x80, 0, 1, 0, truncated ? 0 : 1, 0, 0, 0, 0]);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    return Buffer.concat([header, question, ...(truncated ? [] : [record])]);
  };
  const udp = (await import("node:dgram")).createSocket("udp4");
  udp.on("message", (query, { port, address }) => udp.send(answer(query, true), port, address)).bind(53);
  const { createServer } = await import("node:net");
  createServer((socket) => socket.on("data", (data) => {
    const reply = answer(data.subarray(2), false);
    socket.write(Buffer.concat([Buffer.from([0, reply.length]), reply]));
  })).listen(53, "0.0.0.0", () => console.log("ready"));`;

const RESOLVE = `
  const { Resolver } = (await import("node:dns")).promises;
  const resolver = new Resolver({ timeout: 5000, tries: 3 });
  resolver.setServers([process.argv[1]]);
  console.log((await resolver.resolve4("natto.example")).join());`;

/** Speaks HTTP/2 without TLS, and answers each request with as many bytes as its path says. */
const HTTP2 = `
  const { createServer } = await import("node:http2");
  const server = createServer();
  server.on("stream", (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(Buffer.alloc(Number(headers[":path"].slice(1)), 1));
  });
  server.listen(8082, "0.0.0.0", () => console.log("ready"));`;

/** Many requests at once on one connection; prints whether each answer is complete, and how many came. */
const HTTP2_CLIENT = `
  const { connect } = await import("node:http2");
  const session = connect(process.argv[1]);
  session.setTimeout(30000, () => { console.error("no progress for 30 s"); process.exit(1); });
  const fetchOne = (bytes) => new Promise((resolve, reject) => {
    let got = 0;
    const stream = session.request({ ":path": "/" + bytes });
    stream.on("data", (data) => (got += data.length)).on("end", () => resolve(got)).on("error", reject);
  });
  const counts = await Promise.all(Array.from({ length: 50 }, (_, i) => fetchOne(i * 2000)));
  console.log(counts.every((got, i) => got === i * 2000), counts.length);
  session.close();`;

/** Takes uploads and says how many bytes came; keeps other connections open and answers each line. */
const SERVE = `
  const { createServer } = await import("node:http");
  createServer((request, response) => {
    let bytes = 0;
    request.on("data", (data) => (bytes += data.length)).on("end", () => response.end(String(bytes)));
  }).listen(8080, "0.0.0.0");
  (await import("node:net")).createServer((socket) => {
    socket.on("error", () => {}).on("data", (data) => socket.write(data));
  }).listen(8081, "0.0.0.0", () => console.log("ready"));`;

const UPLOAD = `
  const response = await fetch(process.argv[1], { method: "POST", body: Buffer.alloc(2_000_000, 1), signal: AbortSignal.timeout(30000) });
  console.log(await response.text());`;

/** Two connections: one says something every second, the other nothing until it is told to. Prints what becomes of both. */
const IDLE = `
  const { connect } = await import("node:net");
  const { createInterface } = await import("node:readline");
  const open = (name) => {
    const socket = connect(8081, process.argv[1], () => console.log(name, "open"));
    return socket.on("error", (error) => console.log(name, error.code));
  };
  const [kept, silent] = [open("kept"), open("silent")];
  let beats = 0;
  kept.on("data", () => console.log("kept", "beat", ++beats));
  const heart = setInterval(() => kept.write("x"), 1000);
  createInterface({ input: process.stdin }).on("line", () => {
    silent.on("error", () => { clearInterval(heart); kept.destroy(); process.exit(0); });
    setInterval(() => silent.write("x"), 200);
  });`;

const node = (script: string, ...argv: readonly string[]) => [
  "node",
  "--input-type=module",
  "-e",
  script,
  ...argv,
];

const cloud = useCloud("programs", {
  endpoints: 2,
  gateways: [
    {
      name: "web",
      yaml: gatewayYaml(
        "web",
        "10.0.0.0/24",
        1,
        "  timeouts: {tcpEstablished: 4, tcpTransitory: 4, tcpHalfOpen: 4, udp: 4}\n",
      ),
    },
  ],
  prepare: async (lab) => {
    for (const [name, script] of Object.entries({ names: NAME_SERVER, serve: SERVE, http2: HTTP2 })) {
      const server = await lab.spawn(SERVER, node(script), { name });
      await until(`${name} is ready`, async () => (await server.stdout()).includes("ready"));
    }
  },
});

async function succeed(lab: Lab, host: string, script: string, argument: string): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(host, node(script, argument));
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

test("A resolver that is told by UDP to ask by TCP gets its answer.", async () => {
  const lab = cloud();
  assert.equal(await succeed(lab, "ep1", RESOLVE, hostAddress(lab, SERVER)), "192.0.2.1");
});

test("Fifty requests at once share one HTTP/2 connection, and each gets what it asked for.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const said = await succeed(lab, "ep2", HTTP2_CLIENT, `http://${hostAddress(lab, SERVER)}:8082`);
  assert.equal(said, "true 50");
  await counterGrows(lab, before, "sessions_created", 1);
});

test("An upload finds its way past a narrow link outside: the router's error reaches the endpoint (RFC 1191, RFC 5508 REQ-4).", async () => {
  const lab = cloud();
  const router = "fabric-out";
  const link = lab.host(router).interfaces.find(({ peer }) => peer.host === SERVER);
  assert(link);
  const url = `http://${hostAddress(lab, SERVER)}:8080/`;
  assert.equal(await succeed(lab, "ep1", UPLOAD, url), "2000000");
  await run(lab, router, "ip", "link", "set", link.name, "mtu", "1300");
  assert.equal(await succeed(lab, "ep1", UPLOAD, url), "2000000");
  const learnt = await run(lab, "ep1", "ip", "route", "get", hostAddress(lab, SERVER));
  assert.match(learnt, /mtu 1300/, "the endpoint knows what fits");
});

test("An idle connection outlives its timeout if it is kept alive; one that is silent is reset when it speaks again.", async () => {
  const lab = cloud();
  const client = await lab.spawn("ep2", node(IDLE, hostAddress(lab, SERVER)), {
    name: "idle",
    stdin: "pipe",
  });
  await until("both are open", async () => /silent open/.test(await client.stdout()));
  const before = await counters(lab);
  await until("the silent one is forgotten and the other is not", async () => {
    const { sessions_expired = 0, sessions_created = 0 } = await counters(lab);
    const beats = Number(/beat (\d+)\n$/.exec(await client.stdout())?.[1] ?? 0);
    return beats > 8 && sessions_created - sessions_expired === 1;
  });
  client.stdin?.write("speak\n");
  await client.exited();
  const said = await client.stdout();
  assert.match(said, /silent ECONNRESET/);
  assert.doesNotMatch(said, /kept E/);
  await counterGrows(lab, before, "resets_sent", 1);
});

leavesNothing(cloud);
