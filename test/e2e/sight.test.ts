/** What can be seen of a working cloud: its sessions, who holds which port, what would become of a packet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { natto, runNatto } from "../../src/demo/cloud.ts";
import { hostAddress, parseEndpoint } from "../../src/demo/flow-paths.ts";
import {
  gatewayYaml,
  killHard,
  leavesNothing,
  placementOf,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

const DETERMINISTIC = "  allocation: {method: Deterministic, portsPerEndpoint: 64}\n";
const cloud = useCloud("sight", {
  endpoints: 4,
  gateways: [{ name: "web", yaml: gatewayYaml("web", "10.0.0.0/24", 1, DETERMINISTIC) }],
});

interface Sessions {
  readonly sessions: readonly {
    readonly node: string;
    readonly gateway: string;
    readonly slot: number;
    readonly protocol: string;
    readonly inside: { readonly address: string; readonly port: number };
    readonly public: { readonly address: string; readonly port: number };
  }[];
  readonly missing: readonly { readonly node: string }[];
}

test("Every flow outside is a session of the node that owns its slot, and whois names its endpoint without asking any node.", async () => {
  const lab = cloud();
  const { owners } = (await placementOf(lab, "web")).spec.addresses[0]!;
  const { nodes } = (await placementOf(lab, "web")).spec;
  let seen: Sessions["sessions"] = [];
  const report = await whileProbing(lab, { flows: 2, tcp: 1, rate: 10 }, () =>
    until("the sessions of all endpoints are there", async () => {
      const text = await natto(lab, ["sessions", "--gateway", "team-a/web", "-o", "json"]);
      seen = (JSON.parse(text) as Sessions).sessions;
      return new Set(seen.map((s) => `${s.inside.address} ${s.protocol}`)).size === 8;
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

test("A node's metrics can be scraped where its GatewayNode says.", async () => {
  const lab = cloud();
  const node = JSON.parse(await natto(lab, ["get", "node", "node1", "-o", "json"])) as {
    readonly status: { readonly observer: { readonly url: string } };
  };
  const read = `fetch("${node.status.observer.url}/metrics").then((r) => r.text()).then(console.log)`;
  const { stdout } = await lab.exec("control", ["node", "-e", read]);
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
