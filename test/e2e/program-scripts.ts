/** Small servers and clients that Node.js runs in the hosts of a lab: `node --input-type=module -e SCRIPT ARGUMENT`. */

/** Answers every name with 192.0.2.1: by UDP only that it should be asked for by TCP. */
export const NAME_SERVER = `
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

export const RESOLVE = `
  const { Resolver } = (await import("node:dns")).promises;
  const resolver = new Resolver({ timeout: 5000, tries: 3 });
  resolver.setServers([process.argv[1]]);
  console.log((await resolver.resolve4("natto.example")).join());`;

/** Speaks HTTP/2 without TLS, and answers each request with as many bytes as its path says. */
export const HTTP2 = `
  const { createServer } = await import("node:http2");
  const server = createServer();
  server.on("stream", (stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(Buffer.alloc(Number(headers[":path"].slice(1)), 1));
  });
  server.listen(8082, "0.0.0.0", () => console.log("ready"));`;

/** Many requests at once on one connection; prints whether each answer is complete, and how many came. */
export const HTTP2_CLIENT = `
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
export const SERVE = `
  const { createServer } = await import("node:http");
  createServer((request, response) => {
    let bytes = 0;
    request.on("data", (data) => (bytes += data.length)).on("end", () => response.end(String(bytes)));
  }).listen(8080, "0.0.0.0");
  (await import("node:net")).createServer((socket) => {
    socket.on("error", () => {}).on("data", (data) => socket.write(data));
  }).listen(8081, "0.0.0.0", () => console.log("ready"));`;

export const UPLOAD = `
  const response = await fetch(process.argv[1], { method: "POST", body: Buffer.alloc(2_000_000, 1), signal: AbortSignal.timeout(30000) });
  console.log(await response.text());`;

/** Two connections: one says something every second, the other nothing until it is told to. Prints what becomes of both. */
export const IDLE = `
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

/** A WebSocket (RFC 6455) that says back what it is told: short texts, each in one frame. */
export const WEB_SOCKET = `
  const { createServer } = await import("node:http");
  const { createHash } = await import("node:crypto");
  const [TEXT, CLOSE] = [0x81, 0x88];
  const server = createServer();
  server.on("upgrade", (request, socket) => {
    const secret = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const accept = createHash("sha1").update(secret).digest("base64");
    socket.write("HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + "\\r\\n\\r\\n");
    socket.on("error", () => {}).on("end", () => socket.end()).on("data", (frame) => {
      if (frame[0] !== TEXT) return socket.end(Buffer.from([CLOSE, 0]));
      const said = frame.subarray(6).map((byte, i) => byte ^ frame[2 + (i % 4)]);
      socket.write(Buffer.concat([Buffer.from([TEXT, said.length]), said]));
    });
  });
  server.listen(8083, "0.0.0.0", () => console.log("ready"));`;

/** Opens a WebSocket, sends each line of its input and prints what comes back; closes it when its input ends. */
export const WEB_SOCKET_CLIENT = `
  const { createInterface } = await import("node:readline");
  const socket = new WebSocket(process.argv[1]);
  socket.onopen = () => console.log("open");
  socket.onmessage = ({ data }) => console.log("heard", data);
  socket.onclose = ({ wasClean }) => console.log(wasClean ? "closed" : "broken");
  createInterface({ input: process.stdin }).on("line", (line) => socket.send(line)).on("close", () => socket.close());`;
