/** Twelve endpoints behind one public address over three nodes: all that may pass passes, whole, and nothing else does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { listObjects, natto } from "../../src/demo/cloud.ts";
import {
  type FlowEnds,
  type FlowPath,
  flowPaths,
  hostAddress,
  parseEndpoint,
} from "../../src/demo/flow-paths.ts";
import { bodyUrl, type Download, judgeTransfers } from "../../src/demo/http-check.ts";
import { startProbing } from "../../src/demo/power-off.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { httpRequests } from "../../src/lab/traffic/traffic.ts";
import { outboundSlotOf, slotPorts } from "../../src/model/slots.ts";
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
} from "./fixture.ts";

const BODY_BYTES = 10_000_000;
const UPLOAD_BYTES = 2_000_000;
const PUBLIC = "203.0.113.0";
/** Of which each endpoint finds ports of both kinds with all but certainty: one in nine leads to the owner both ways. */
const FIRST_CANDIDATE = 20_000;
const CANDIDATES = 128;

const cloud = useCloud("traffic", { prepare: watchOutside });

type Kind = "direct" | "steered";

interface Choice {
  readonly host: string;
  readonly kind: Kind;
  readonly localPort: number;
}

const isDirect = ({ owner, outbound, inbound }: FlowPath) => outbound === owner && inbound === owner;
const isSteeredBothWays = ({ owner, outbound, inbound }: FlowPath) => outbound !== owner && inbound !== owner;

/** Source ports of an endpoint with the paths that they will have, if their preferred outside ports are free. */
async function candidates(lab: Lab, host: string): Promise<readonly (readonly [FlowEnds, FlowPath])[]> {
  const placement = await placementOf(lab, "web");
  const { portsPerSlot } = placement.spec;
  const inside = hostAddress(lab, host);
  const range = slotPorts(outboundSlotOf(inside, [PUBLIC], portsPerSlot).slot, portsPerSlot);
  const ends = Array.from({ length: CANDIDATES }, (_, i): FlowEnds => {
    const port = FIRST_CANDIDATE + i;
    return {
      protocol: "tcp",
      host,
      inside: { address: inside, port },
      public: { address: PUBLIC, port: range.first + ((port - 1024) % portsPerSlot) },
      remoteHost: SERVER,
      remote: { address: hostAddress(lab, SERVER), port: 80 },
    };
  });
  const paths = await flowPaths(lab, [placement], ends);
  return ends.map((flow, i) => [flow, paths[i]!] as const);
}

/** For each endpoint a source port of each kind; `skip` ports of that kind are passed over. */
async function choosePorts(lab: Lab, hosts: readonly string[], skip = 0): Promise<readonly Choice[]> {
  const choices: Choice[] = [];
  for (const host of hosts) {
    const found = await candidates(lab, host);
    for (const [kind, fits] of [
      ["direct", isDirect],
      ["steered", isSteeredBothWays],
    ] as const) {
      const chosen = found.filter(([, path]) => fits(path))[skip];
      assert(chosen, `${host} has a ${kind} source port among ${CANDIDATES}`);
      choices.push({ host, kind, localPort: chosen[0].inside.port });
    }
  }
  return choices;
}

async function transfer(
  lab: Lab,
  choices: readonly Choice[],
  upload?: number,
): Promise<readonly (Download & { readonly kind: Kind })[]> {
  const url =
    upload === undefined ? bodyUrl(lab, SERVER, BODY_BYTES) : `http://${hostAddress(lab, SERVER)}/upload`;
  const responses = await Promise.all(
    choices.map(async ({ host, localPort }) => {
      const [result] = await httpRequests(lab, host, {
        urls: [url],
        localPort,
        timeoutMs: 60_000,
        ...(upload === undefined ? {} : { upload }),
      });
      assert(result);
      return { host, result };
    }),
  );
  const judged = await judgeTransfers(lab, SERVER, responses);
  return judged.map((download, i) => ({ ...download, kind: choices[i]!.kind }));
}

test("Bodies of 10 MB arrive intact at every endpoint, by way of the owner alone and by way of nodes that steer.", async () => {
  const lab = cloud();
  const endpoints = hostsOf(lab, "endpoint");
  assert.equal(endpoints.length, 12);
  const downloads = await transfer(lab, await choosePorts(lab, endpoints));
  assert.equal(downloads.length, 24);
  for (const { host, kind, bytes, intact, outside, path, inOwnSlot } of downloads) {
    const what = `${host} ${kind}, seen as ${outside.address}:${outside.port}`;
    assert.equal(bytes, BODY_BYTES, what);
    assert(intact, what);
    assert(inOwnSlot, `${what}, which is not in the endpoint's slot`);
    assert.equal(outside.address, PUBLIC, what);
    assert.equal(kind === "direct" ? isDirect(path) : isSteeredBothWays(path), true, what);
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
  const choices = await choosePorts(lab, hostsOf(lab, "endpoint").slice(0, 4), 1);
  const uploads = await transfer(lab, choices, UPLOAD_BYTES);
  assert.equal(uploads.length, 8);
  for (const { host, kind, intact, path } of uploads) {
    assert(intact, `${host} ${kind}`);
    assert.equal(kind === "direct" ? isDirect(path) : isSteeredBothWays(path), true, `${host} ${kind}`);
  }
});

test("UDP, lasting and new, and long TCP connections lose nothing, and whois names who holds each of them.", async () => {
  const lab = cloud();
  const endpoints = hostsOf(lab, "endpoint");
  const probing = await startProbing(lab, {
    endpoints,
    server: SERVER,
    flows: 2,
    tcp: 2,
    rate: 20,
    fresh: 5,
  });
  await until("new flows are tried", async () => (await seenOutside(lab)).translated > 2000);
  const report = await probing.stop();
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
  await run(lab, SERVER, "node", "--input-type=module", "-e", script);
  await counterGrows(lab, before, "drop_no_session", 2 * tries);
  const [connection] = await httpRequests(lab, SERVER, { urls: [`http://${PUBLIC}:2000/`], timeoutMs: 1000 });
  assert.equal(connection?.status, undefined);
  await counterGrows(lab, before, "drop_no_session", 2 * tries + 1);
});

test("What cannot be translated is dropped and counted, and nothing that is enrolled has ever left as it was.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const target = hostAddress(lab, SERVER);
  for (const host of ["ep1", "ep2", "ep3", "ep4", "ep5", "ep6"]) {
    const { stdout } = await lab.exec(host, ["ping", "-c1", "-W1", "-s3000", target]);
    assert.match(stdout, /1 packets transmitted, 0 received/, `fragments of ${host}`);
  }
  await counterGrows(lab, before, "drop_fragment", 6);
  const { untranslated, translated } = await seenOutside(lab);
  assert.equal(untranslated, 0);
  assert(translated > 10_000, `the router outside has counted ${translated} translated packets`);
});

leavesNothing(cloud);
