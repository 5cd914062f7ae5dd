/** Twelve endpoints behind one public address over three nodes: all that may pass passes, whole, and nothing else does. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { SHARE_OF_HELD } from "../../src/dataplane/model/held-fragments.ts";
import { listObjects, natto } from "../../src/demo/cloud.ts";
import { hostAddress, parseEndpoint } from "../../src/demo/flow-paths.ts";
import { transferAll } from "../../src/demo/http-check.ts";
import { choosePorts, wayOf } from "../../src/demo/port-choice.ts";
import { startProbing } from "../../src/demo/power-off.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { httpRequests } from "../../src/lab/traffic/traffic.ts";
import {
  assertNothingLost,
  counterGrows,
  counters,
  hostsOf,
  leavesNothing,
  placementOf,
  run,
  SERVER,
  seenOutside,
  until,
  useCloud,
  watchOutside,
  whileProbing,
} from "./fixture.ts";

const BODY_BYTES = 10_000_000;
const UPLOAD_BYTES = 2_000_000;
/** Far from those of the downloads, whose outside ports rest. */
const UPLOAD_PORTS = 20_500;
const PUBLIC = "203.0.113.0";
/** Whom no endpoint has ever sent anything to. */
const STRANGER = "server2";
const FRAGMENT_PEER = join(import.meta.dirname, "fragment-peer.ts");
const PARTS_PORT = 7007;
const cloud = useCloud("traffic", { outsideHosts: 2, prepare: watchOutside });

test("Bodies of 10 MB arrive intact at every endpoint, by way of the owner alone and by way of nodes that steer.", async () => {
  const lab = cloud();
  const endpoints = hostsOf(lab, "endpoint");
  assert.equal(endpoints.length, 12);
  const downloads = await transferAll(
    lab,
    await choosePorts(lab, await placementOf(lab, "web"), endpoints, SERVER),
    { server: SERVER, bytes: BODY_BYTES },
  );
  assert.equal(downloads.length, 24);
  for (const { host, way, bytes, intact, outside, path, inOwnSlot } of downloads) {
    const what = `${host} ${way}, seen as ${outside.address}:${outside.port}`;
    assert.equal(bytes, BODY_BYTES, what);
    assert(intact, what);
    assert(inOwnSlot, `${what}, which is not in the endpoint's slot`);
    assert.equal(outside.address, PUBLIC, what);
    assert.equal(wayOf(path), way, what);
  }
  assert.deepEqual([...new Set(downloads.map((d) => d.path.owner))].sort(), ["node1", "node2", "node3"]);
});

test("Every node translates in both directions, and wraps and unwraps for the others.", async () => {
  for (const counter of ["translated_out", "translated_in", "steered_out", "steered_in", "unwrapped"]) {
    await until(`every node counts ${counter}`, async () =>
      (await listObjects(cloud(), "GatewayNode")).every((node) => (node.status?.counters[counter] ?? 0) > 0),
    );
  }
});

test("Uploads arrive intact, direct and steered.", async () => {
  const lab = cloud();
  const choices = await choosePorts(
    lab,
    await placementOf(lab, "web"),
    hostsOf(lab, "endpoint").slice(0, 4),
    SERVER,
    UPLOAD_PORTS,
  );
  const uploads = await transferAll(lab, choices, { server: SERVER, bytes: UPLOAD_BYTES, upload: true });
  assert.equal(uploads.length, 8);
  for (const { host, way, intact, path } of uploads) {
    assert(intact, `${host} ${way}`);
    assert.equal(wayOf(path), way, `${host} ${way}`);
  }
});

test("UDP, lasting and new, and long TCP connections lose nothing, and whois names who holds each of them.", async () => {
  const lab = cloud();
  const { translated } = await seenOutside(lab);
  const report = await whileProbing(lab, { flows: 2, tcp: 2, rate: 20 }, () =>
    until("packets go out", async () => (await seenOutside(lab)).translated > translated + 2000),
  );
  assertNothingLost(report);
  assert.equal(report.flows.length, 24);
  assert.equal(report.tcp.length, 24);
  const paths = new Set(report.flows.map((f) => f.path.owner));
  assert.equal(paths.size, 3);
  for (const { host, path, report: udp } of report.flows.filter((_, i) => i % 2 === 0)) {
    const { address, port } = parseEndpoint(udp.outside[0] ?? "");
    const text = await natto(lab, ["whois", `${address}:${port}`, "--protocol", "udp", "-o", "json"]);
    const answer = JSON.parse(text) as { gateway: string; owner: string; endpoints: string[] };
    assert.equal(answer.gateway, "team-a/web");
    assert.equal(answer.owner, path.owner);
    assert(answer.endpoints.includes(hostAddress(lab, host)), `${host} in ${answer.endpoints}`);
  }
});

test("Every endpoint can ping the outside.", async () => {
  const lab = cloud();
  const target = hostAddress(lab, SERVER);
  for (const host of hostsOf(lab, "endpoint")) {
    assert.match(
      await run(lab, host, "ping", "-c2", "-i0.2", "-W5", target),
      /2 received, 0% packet loss/,
      host,
    );
  }
});

test("A ping from outside to the public address is not let in, and is counted.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const { stdout } = await lab.exec(SERVER, ["ping", "-c5", "-i0.2", "-W1", PUBLIC]);
  assert.match(stdout, /5 packets transmitted, 0 received/);
  await counterGrows(lab, before, "drop_unsupported", 5);
});

test("What nobody asked for is not let in, neither to a free port nor to one in use by somebody else, and is counted.", async () => {
  const lab = cloud();
  const probing = await startProbing(lab, {
    endpoints: ["ep1"],
    server: SERVER,
    flows: 1,
    rate: 20,
    fresh: 0,
  });
  const before = await counters(lab);
  const used = (await probing.stop()).flows[0]?.report.outside[0]?.split(":")[1];
  assert(used);
  const tries = 20;
  const script = `import { createSocket } from "node:dgram";
    const socket = createSocket("udp4").bind(9999);
    socket.on("message", () => process.exit(3));
    for (let i = 0; i < ${tries}; i++)
      for (const port of [${used}, 60000])
        await new Promise((sent, failed) => socket.send("hello", port, "${PUBLIC}", (e) => (e ? failed(e) : sent())));
    setTimeout(() => process.exit(0), 500);`;
  await run(lab, STRANGER, "node", "--input-type=module", "-e", script);
  await counterGrows(lab, before, "drop_no_session", 2 * tries);
  const [connection] = await httpRequests(lab, STRANGER, {
    urls: [`http://${PUBLIC}:2000/`],
    timeoutMs: 1000,
  });
  assert.equal(connection?.status, undefined);
  await counterGrows(lab, before, "drop_no_session", 2 * tries + 1);
});

test("A ping of 4,000 bytes, which takes three packets, comes back to every endpoint.", async () => {
  const lab = cloud();
  const target = hostAddress(lab, SERVER);
  for (const host of hostsOf(lab, "endpoint")) {
    const output = await run(lab, host, "ping", "-c2", "-i0.2", "-W5", "-s4000", target);
    assert.match(output, /2 received, 0% packet loss/, host);
  }
});

/** Runs `fragment-peer.ts` on an endpoint against the one on the server. */
function askInParts(lab: Lab, host: string, first: number, count: number, order: string): Promise<string> {
  const ends = [hostAddress(lab, host), hostAddress(lab, SERVER), `${PARTS_PORT}`];
  return run(lab, host, "node", FRAGMENT_PEER, "ask", ...ends, `${first}`, `${count}`, order);
}

test("Datagrams of 8 KB arrive whole in both directions, also when their fragments come in reverse order; a flood of lone fragments harms nobody else.", async () => {
  const lab = cloud();
  await lab.spawn(SERVER, ["node", FRAGMENT_PEER, "serve", hostAddress(lab, SERVER), `${PARTS_PORT}`], {
    name: "fragments",
  });
  const endpoints = hostsOf(lab, "endpoint").slice(0, 4);
  await until("the server listens", async () =>
    (await run(lab, SERVER, "ss", "-Hlun")).includes(`:${PARTS_PORT}`),
  );
  for (const [i, host] of endpoints.entries()) await askInParts(lab, host, 22_000 + 100 * i, 8, "in-order");
  const before = await counters(lab);
  for (const [i, host] of endpoints.entries()) await askInParts(lab, host, 24_000 + 100 * i, 8, "reverse");
  // Five of the six fragments of each of 32 questions come early.
  await counterGrows(lab, before, "fragments_released", 5 * 32);
  const flooded = await counters(lab);
  await askInParts(lab, endpoints[0]!, 26_000, 2000, "lone");
  await counterGrows(lab, flooded, "drop_fragment_limit", 2000 - SHARE_OF_HELD);
  await askInParts(lab, endpoints[1]!, 27_000, 8, "reverse");
});

test("Nothing that is enrolled has ever left as it was.", async () => {
  const lab = cloud();
  const { untranslated, translated } = await seenOutside(lab);
  assert.equal(untranslated, 0);
  assert(translated > 10_000, `the router outside has counted ${translated} translated packets`);
});

leavesNothing(cloud);
