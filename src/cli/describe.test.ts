import assert from "node:assert/strict";
import { test } from "node:test";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { AnyObject, Kind, ObjectOf } from "../model/kinds.ts";
import type { GatewayUsage } from "../model/usage.ts";
import { validateObject } from "../model/validate.ts";
import { LAST_APPLIED } from "./apply.ts";
import { tableRows } from "./columns.ts";
import { describe, type Related } from "./describe.ts";
import { factsText } from "./facts.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");

function make<K extends Kind>(
  kind: K,
  name: string,
  spec: unknown,
  more: Record<string, unknown> = {},
): ObjectOf<K> {
  const { status, ...metadata } = more;
  const object = validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind,
    metadata: { name, creationTimestamp: "2026-11-24T10:30:00Z", generation: 2, ...metadata },
    spec,
    ...(status === undefined ? {} : { status }),
  });
  return object as ObjectOf<K>;
}

const CONDITION = {
  type: "Ready",
  status: "True",
  reason: "AllSlotsOwned",
  message: "fine",
  lastTransitionTime: "2026-11-24T11:59:00Z",
};

const gateway = make(
  "NatGateway",
  "web",
  { cell: "main", sources: ["10.0.0.0/24"], addresses: { pool: "public" }, ports: { perSlot: 16_128 } },
  {
    namespace: "team-a",
    annotations: { [LAST_APPLIED]: "{}", note: "hello" },
    status: {
      observedGeneration: 2,
      addresses: ["203.0.113.1"],
      owners: { a: 2, b: 1 },
      conditions: [CONDITION],
    },
  },
);
const placement = make(
  "Placement",
  "web",
  {
    cell: "main",
    pool: "public",
    portsPerSlot: 16_128,
    nodes: ["a", "b"],
    addresses: [{ address: "203.0.113.1", owners: [0, 0, 1, -1], backups: [1, 1, 0, -1] }],
  },
  { namespace: "team-a" },
);
const node = make(
  "GatewayNode",
  "a",
  { cell: "main", address: "192.0.2.1", interfaces: { inside: "in0", outside: "out0" } },
  {
    labels: { "topology.natto.dev/zone": "east" },
    status: {
      applied: { generation: 1, digest: "d", at: "2026-11-24T11:00:00Z" },
      sessions: { used: 5, capacity: 100 },
      counters: { translated_out: 7 },
      conditions: [CONDITION],
    },
  },
);
const nodeConfig = make("NodeConfig", "a", {
  cell: "main",
  node: { address: "192.0.2.1", interfaces: { inside: "in0", outside: "out0" } },
  vxlan: { port: 4789 },
  peers: [{ name: "b", address: "192.0.2.2" }],
  gateways: [],
});
const lease = make("Lease", "a", {
  cell: "main",
  renewals: 9,
  renewedAt: "2026-11-24T11:59:59Z",
  peersAlive: ["b"],
});
const pool = make(
  "AddressPool",
  "public",
  { cidrs: ["203.0.113.0/28"] },
  { status: { total: 16, allocated: 1 } },
);
const cell = make("Cell", "main", {}, { status: { readyNodes: 1, totalNodes: 1 } });

const related: Related = { placements: [placement], nodes: [node], nodeConfig, lease, events: [] };

function described(object: AnyObject): string {
  return factsText(describe(object, related, NOW));
}

test("a gateway shows who owns which ports, and who takes over from whom", () => {
  assert.equal(
    described(gateway),
    `Kind:               NatGateway
Name:               web
Namespace:          team-a
Uid:                -
Created:            2026-11-24T10:30:00Z
Age:                1h30m
Generation:         2
Labels:             none
Cell:               main
Sources:            10.0.0.0/24
Pool:               public
Addresses:          203.0.113.1
Addresses wanted:   1
Shard size:         8
Ports per slot:     16128
Planned:            yes
Annotations:
  note   hello
Allocation:
  method   Hashed
  spread   Endpoint
Mapping:
  udp   EndpointIndependent
  tcp   AddressAndPortDependent
Filtering:
  udp   AddressDependent
  tcp   AddressAndPortDependent
Timeouts:
  tcpEstablished   7440
  tcpHalfOpen      240
  tcpTransitory    240
  udp              300
  icmp             60
Slots:
  ADDRESS       OWNER      SLOTS   OF   PORTS
  203.0.113.1   (nobody)   1       4    49408-65535
  203.0.113.1   a          2       4    1024-33279
  203.0.113.1   b          1       4    33280-49407
Take over:
  IF GONE   NEXT IN LINE
  a         b 2
  b         a 1
Conditions:
  TYPE    STATUS   SINCE   REASON          MESSAGE
  Ready   True     1m      AllSlotsOwned   fine
`,
  );
});

test("a node shows its slots, whether its configuration is current, its heartbeat and its counters", () => {
  const text = described(node);
  assert.match(text, /^Zone: +east$/m);
  assert.match(text, /^ {2}current +2\n {2}applied +1\n {2}upToDate +no$/m);
  assert.match(text, /^ {2}peersAlive +b$/m);
  assert.match(text, /^ {2}used +5\n {2}capacity +100$/m);
  assert.match(text, /^ {2}team-a\/web +203\.0\.113\.1 +2 +4 +1 +1024-33279$/m);
  assert.match(text, /^ {2}translated_out +7$/m);
});

test("a gateway shows the use of its ports on each node, and a node that of each gateway", () => {
  const usage: GatewayUsage = {
    gateway: "team-a/web",
    sessions: 9,
    addresses: [{ address: "203.0.113.1", total: 32256, tcp: 7, udp: 2, icmp: 0 }],
    fullest: {
      ports: "203.0.113.1:1024-17151",
      protocol: "tcp",
      remote: "192.0.2.9:443",
      used: 6,
      of: 16128,
    },
    ...{ peakPercent: 3, refused: 4, refusing: false },
    endpoints: [{ address: "10.0.0.9", sessions: 8 }],
  };
  const busy: GatewayNode = { ...node, status: { ...node.status!, usage: [usage] } };
  const row = / 9 +32256 +7 +2 +0 +6 of 16128 \(203\.0\.113\.1:1024-17151 tcp\) +3% +4 +10\.0\.0\.9 \(8\)$/m;
  const ofGateway = factsText(describe(gateway, { ...related, nodes: [busy] }, NOW));
  assert.match(ofGateway, new RegExp(`^  a +${row.source}`, "m"));
  assert.match(described(busy), new RegExp(`^  team-a/web +${row.source}`, "m"));
});

test("a node that never reported can be described", () => {
  const text = factsText(
    describe(
      { ...node, status: undefined },
      { placements: [], nodes: [], nodeConfig: undefined, lease: undefined, events: [] },
      NOW,
    ),
  );
  assert.match(text, /^Agent: +never reported$/m);
  assert.match(text, /^Heartbeat: +none$/m);
});

test("a pool shows who holds its addresses, and a cell its nodes with their slots", () => {
  assert.match(described(pool), /^ {2}203\.0\.113\.1 +team-a\/web$/m);
  assert.match(described(cell), /^ {2}a +True +no +100 +east +192\.0\.2\.1 +2$/m);
});

test("every kind can be described and listed", () => {
  for (const object of [gateway, placement, node, nodeConfig, lease, pool, cell]) {
    assert.match(described(object), new RegExp(`^Kind: +${object.kind}$`, "m"));
    for (const wide of [false, true]) {
      const [header, row] = tableRows<Kind>(object.kind, [object], {
        wide,
        namespaces: true,
        now: () => NOW,
      });
      assert.equal(header?.length, row?.length);
      assert.equal(header?.at(-1), "AGE");
      assert.equal(row?.at(-1), "1h30m");
    }
  }
});

test("the columns of a gateway tell its state at a glance", () => {
  const rows = tableRows("NatGateway", [gateway], { wide: true, namespaces: true, now: () => NOW });
  assert.deepEqual(rows, [
    [
      "NAMESPACE",
      "NAME",
      "CELL",
      "READY",
      "ADDRESSES",
      "SOURCES",
      "OWNERS",
      "SLOTS",
      "PORTS/SLOT",
      "POOL",
      "TROUBLE",
      "AGE",
    ],
    [
      "team-a",
      "web",
      "main",
      "True",
      "203.0.113.1",
      "10.0.0.0/24",
      "2",
      "a=2,b=1",
      "16128",
      "public",
      "",
      "1h30m",
    ],
  ]);
});

test("trouble is a condition that does not hold, or a doubt that does", () => {
  const conditions = [
    { type: "MembershipDoubted", status: "False", reason: "AsReported" },
    { type: "Ready", status: "False", reason: "NoNodeReady" },
  ];
  const troubleOf = (among: readonly unknown[]) => {
    const sick = make("Cell", "main", {}, { status: { conditions: among } });
    const [header = [], row = []] = tableRows("Cell", [sick], {
      wide: true,
      namespaces: true,
      now: () => NOW,
    });
    return row[header.indexOf("TROUBLE")];
  };
  assert.equal(troubleOf(conditions), "NoNodeReady");
  assert.equal(troubleOf([{ ...conditions[0], status: "True", reason: "MassLoss" }]), "MassLoss");
  assert.equal(troubleOf([conditions[0]]), "");
});

test("a node of a cell with routing shows what it announces, and what is wrong with its sessions", () => {
  const message =
    "BGP session out to 198.51.100.1 AS 64512: Active, Socket: Connection refused; check that BGP runs";
  const terms = { side: "outside", peer: "198.51.100.1", peerAs: 64512 };
  const sessions = [
    { name: "in", ...terms, side: "inside", peer: "192.0.2.0", up: true, state: "Established", message: "" },
    { name: "out", ...terms, up: false, state: "Active", message },
  ];
  const announced = { inside: ["0.0.0.0/0", "192.0.2.1/32"], outside: [] };
  const routed = make("GatewayNode", "a", node.spec, { status: { routing: { announced, sessions } } });
  const text = described(routed);
  assert.match(text, /^Announced:\n {2}inside +0\.0\.0\.0\/0, 192\.0\.2\.1\/32\n {2}outside +none$/m);
  assert.match(text, /^ {2}in +inside +192\.0\.2\.0 +64512 +Established +-$/m);
  assert.match(text, /^ {2}out +outside +198\.51\.100\.1 +64512 +Active +BGP session out .*refused; check/m);
});
