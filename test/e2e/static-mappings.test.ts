/** Floating addresses, port forwards and hairpins in a real cloud, with real programs: HTTP/2, plain TCP, pings too large for one packet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { natto } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { counterGrows, counters, leavesNothing, run, SERVER, until, useCloud } from "./fixture.ts";

const FLOATING = "203.0.113.9";
const FORWARDED = "203.0.113.10";

const STATICS = `apiVersion: natto.dev/v1alpha1
kind: FloatingAddress
metadata: {name: host, namespace: team-a}
spec: {cell: main, pool: public, address: ${FLOATING}, inside: 10.0.0.11}
---
apiVersion: natto.dev/v1alpha1
kind: PortForward
metadata: {name: site, namespace: team-a}
spec:
  cell: main
  protocol: tcp
  public: {pool: public, address: ${FORWARDED}}
  port: 8000
  lastPort: 8001
  inside: {address: 10.0.0.12, port: 9000}
`;

/** Serves HTTP/2 without TLS; the body says who asks. */
const SERVE = `
  const { createServer } = await import("node:http2");
  const server = createServer();
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200 });
    stream.end(stream.session.socket.remoteAddress.replace("::ffff:", ""));
  });
  server.listen(Number(process.argv[1]), "0.0.0.0");`;

/** Asks 20 times at once over one connection; prints the answers, each once. */
const ASK = `
  const { connect } = await import("node:http2");
  const session = connect(process.argv[1]);
  const fail = (error) => { console.error(error.message); process.exit(1); };
  session.on("error", fail);
  const ask = () => new Promise((resolve) => {
    const request = session.request({ ":path": "/" });
    let body = "";
    request.on("data", (data) => (body += data)).on("end", () => resolve(body)).on("error", fail);
  });
  setTimeout(() => fail(new Error("no answer")), 10000).unref();
  const answers = await Promise.all(Array.from({ length: 20 }, ask));
  console.log([...new Set(answers)].join());
  session.close();`;

const cloud = useCloud("statics", {
  endpoints: 3,
  prepare: async (lab) => {
    await natto(lab, ["apply", "-f", "-"], STATICS);
    for (const [host, port] of [
      ["ep1", 9000],
      ["ep2", 9001],
      [SERVER, 9000],
    ] as const) {
      await lab.spawn(host, ["node", "--input-type=module", "-e", SERVE, `${port}`], { name: "h2" });
    }
  },
});

/** Whom the HTTP/2 server at an address and port sees when a host asks it. */
async function seenBy(lab: Lab, host: string, server: string): Promise<string> {
  const { stdout, stderr, code } = await lab.exec(host, [
    "node",
    "--input-type=module",
    "-e",
    ASK,
    `http://${server}`,
  ]);
  assert.equal(code, 0, stderr);
  return stdout.trim();
}

test("The outside reaches a host by its floating address, and the host goes out on it.", async () => {
  const lab = cloud();
  const outside = hostAddress(lab, SERVER);
  await until(
    "the floating address works",
    async () => (await seenBy(lab, SERVER, `${FLOATING}:9000`)) === outside,
  );
  assert.equal(await seenBy(lab, "ep1", `${outside}:9000`), FLOATING);
});

test("Pings too large for one packet pass a floating address both ways, fragment by fragment.", async () => {
  const lab = cloud();
  assert.match(
    await run(lab, SERVER, "ping", "-n", "-c", "3", "-s", "4000", "-W", "5", FLOATING),
    / 3 received/,
  );
  assert.match(
    await run(lab, "ep1", "ping", "-n", "-c", "3", "-s", "4000", "-W", "5", hostAddress(lab, SERVER)),
    / 3 received/,
  );
});

test("The outside reaches a forwarded port of a range, and no other.", async () => {
  const lab = cloud();
  const outside = hostAddress(lab, SERVER);
  await until("the forward works", async () => (await seenBy(lab, SERVER, `${FORWARDED}:8001`)) === outside);
  const before = await counters(lab);
  const refused = await lab.exec(SERVER, ["curl", "-s", "-m", "2", `http://${FORWARDED}:8002/`]);
  assert.notEqual(refused.code, 0);
  await counterGrows(lab, before, "drop_no_session", 1);
});

test("Endpoints reach forwards and floating addresses too, and are seen by a public address.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const web = await seenBy(lab, "ep3", `${FORWARDED}:8001`);
  assert.match(web, /^203\.0\.113\.\d+$/);
  assert.equal(await seenBy(lab, "ep3", `${FLOATING}:9000`), web);
  assert.equal(await seenBy(lab, "ep1", `${FORWARDED}:8001`), FLOATING);
  await counterGrows(lab, before, "hairpinned", 6);
});

test("The loss of a node breaks no static mapping.", async () => {
  const lab = cloud();
  await lab.cutLinks("node2", { management: true });
  const outside = hostAddress(lab, SERVER);
  for (let i = 0; i < 6; i++) assert.equal(await seenBy(lab, SERVER, `${FLOATING}:9000`), outside);
  await lab.restoreLinks("node2");
});

leavesNothing(cloud);
