/** What can be seen of a working cloud: its sessions, who holds which port, what would become of a packet. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { listObjects, natto, runNatto } from "../../src/demo/cloud.ts";
import { hostAddress, parseEndpoint } from "../../src/demo/flow-paths.ts";
import { startProber } from "../../src/lab/traffic/traffic.ts";
import {
  gatewayYaml,
  killHard,
  leavesNothing,
  placementOf,
  SERVER,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

const blocksOf = (ports: number) => `  allocation: {method: Deterministic, portsPerEndpoint: ${ports}}\n`;
/** The addresses of ep1, ep2 and ep3; that of ep4, which has too few ports. */
const MANY = "10.0.0.0/29, 10.0.0.8/30, 10.0.0.12/31";
const FEW = "10.0.0.14/32";
const cloud = useCloud("sight", {
  endpoints: 4,
  gateways: [
    // Both at once: each would be a rollout of its own.
    {
      name: "web",
      yaml: `${gatewayYaml("web", MANY, 1, blocksOf(1024))}---
${gatewayYaml("few", FEW, 1, `${blocksOf(16)}  log: Sessions\n`)}`,
    },
  ],
});

interface Sessions {
  readonly sessions: readonly {
    readonly node: string;
    readonly gateway: string;
    readonly slot: number;
    readonly protocol: string;
    readonly inside: { readonly address: string; readonly port: number };
    readonly public: { readonly address: string; readonly port: number };
    readonly remote: { readonly address: string; readonly port: number };
  }[];
  readonly missing: readonly { readonly node: string }[];
}

test("Every flow outside is a session of the node that owns its slot, and whois names its endpoint without asking any node.", async () => {
  const lab = cloud();
  const { owners } = (await placementOf(lab, "web")).spec.addresses[0]!;
  const { nodes } = (await placementOf(lab, "web")).spec;
  let seen: Sessions["sessions"] = [];
  const report = await whileProbing(
    lab,
    { endpoints: ["ep1", "ep2", "ep3"], flows: 2, tcp: 1, rate: 10 },
    () =>
      until("the sessions of all endpoints are there", async () => {
        const text = await natto(lab, ["sessions", "--gateway", "team-a/web", "-o", "json"]);
        seen = (JSON.parse(text) as Sessions).sessions;
        return new Set(seen.map((s) => `${s.inside.address} ${s.protocol}`)).size === 6;
      }),
  );
  for (const { node, slot } of seen) assert.equal(node, nodes[owners[slot]!]);
  for (const { host, report: udp } of report.flows) {
    const outside = udp.outside[0] ?? "";
    const { address, port } = parseEndpoint(outside);
    const inside = hostAddress(lab, host);
    const match = seen.find(
      (s) => s.protocol === "udp" && s.public.port === port && s.public.address === address,
    );
    assert.equal(match?.inside.address, inside, outside);
    const whois = await natto(lab, ["whois", outside, "--protocol", "udp", "-o", "json"]);
    assert.deepEqual((JSON.parse(whois) as { endpoints: readonly string[] }).endpoints, [inside]);
  }
});

test("The trace of an answer to a live session ends at its endpoint, whichever node gets it.", async () => {
  const lab = cloud();
  const text = await natto(lab, ["sessions", "--protocol", "udp", "--limit", "1", "-o", "json"]);
  const [session] = (JSON.parse(text) as Sessions).sessions;
  assert(session);
  const end = ({ address, port }: { readonly address: string; readonly port: number }) =>
    `${address}:${port}`;
  for (const at of ["node1", "node2", "node3"]) {
    const ends = ["--from", end(session.remote), "--to", end(session.public), "--protocol", "udp"];
    const traced = await natto(lab, ["trace", ...ends, "--at", at, "--live"]);
    assert.match(traced, new RegExp(`Leaves as: +${end(session.remote)} > ${end(session.inside)}\n`));
    assert.match(traced, new RegExp(`${session.node} +translated, and sent toward the endpoint\n$`));
  }
});

test("An endpoint that wants more ports than its block has is refused, and its gateway says so before long.", async () => {
  const lab = cloud();
  const prober = await startProber(lab, "ep4", { server: hostAddress(lab, SERVER), udp: 30, rate: 2 });
  for (const type of ["PortsLow", "PortsExhausted"]) {
    await until(`few is ${type}`, async () => {
      const few = (await listObjects(lab, "NatGateway")).find(({ metadata }) => metadata.name === "few");
      return few?.status?.conditions.some((c) => c.type === type && c.status === "True") ?? false;
    });
  }
  await prober.stop();
  for (const reason of ["PortsLow", "PortsExhausted"]) {
    await until(`the event ${reason} is told`, async () =>
      new RegExp(`Warning +${reason} +natgateway/team-a/few`).test(
        await natto(lab, ["events", "--for", "gateway/team-a/few"]),
      ),
    );
  }
  const text = await natto(lab, ["describe", "gateway", "few", "-n", "team-a"]);
  assert.match(text, /16 of 16 \(203\.0\.113\.\d+:\d+-\d+ udp\) +100% +[1-9]\d* +10\.0\.0\.14 \(16\)/);
});

test("The session log of a gateway that keeps one tells later who held a port, and nothing is logged of the others.", async () => {
  const lab = cloud();
  const session = JSON.parse(
    await natto(lab, ["sessions", "--gateway", "team-a/few", "--limit", "1", "-o", "json"]),
  ) as Sessions;
  const [{ node, public: held, inside }] = session.sessions as [Sessions["sessions"][number]];
  const file = (await lab.process(node, "agent")).logs.stdout;
  const now = new Date().toISOString();
  const log = ["--at", now, "--log", file, "-o", "json"];
  let told = { sessions: [] as readonly { readonly endpoint: string }[] };
  await until("the session is written down", async () => {
    told = JSON.parse(await natto(lab, ["whois", `${held.address}:${held.port}`, ...log])) as typeof told;
    return told.sessions.length > 0;
  });
  assert.deepEqual(
    new Set(told.sessions.map((s) => s.endpoint)),
    new Set([`${inside.address}:${inside.port}`]),
  );
  assert.doesNotMatch(await readFile(file, "utf8"), /"event":"begin".*team-a\/web/);
});

test("A node's metrics can be scraped where its GatewayNode says.", async () => {
  const lab = cloud();
  const node = JSON.parse(await natto(lab, ["get", "node", "node1", "-o", "json"])) as {
    readonly status: { readonly observer: { readonly url: string } };
  };
  const read = `fetch("${node.status.observer.url}/metrics").then((r) => r.text()).then(console.log)`;
  const { stdout } = await lab.exec("control", ["node", "-e", read]);
  assert.match(
    stdout,
    /natto_ports_used\{gateway="team-a\/web",address="203.0.113.\d+",protocol="tcp",node="node1"\}/,
  );
  assert.match(stdout, /natto_dataplane_packets_total\{counter="translated_out",node="node1"\} \d+/);
});

test("When a node does not answer, the others' sessions are shown and the missing one is named.", async () => {
  const lab = cloud();
  await killHard(lab, "node2", "agent");
  const { code, stdout, stderr } = await runNatto(lab, ["sessions", "-o", "json"]);
  assert.equal(code, 7);
  assert.deepEqual(
    (JSON.parse(stdout) as Sessions).missing.map(({ node }) => node),
    ["node2"],
  );
  assert.match(stderr, /node2: missing, since it does not answer at http/);
});

leavesNothing(cloud);
