/** Stories of single plans: what is granted, what is refused, and what is said about it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cell } from "../model/cell.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import { NOBODY } from "../model/placement.ts";
import { cellRoutingSchema, nodeRoutingSchema } from "../model/routing.ts";
import type { GatewayUsage } from "../model/usage.ts";
import {
  allAlive,
  cell,
  cloud,
  condition,
  gateway,
  type NodeTraits,
  node,
  pool,
  publish,
  slotTable,
  tally,
} from "./fixtures.ts";
import { createPlanner, type Plan, type PlanInput, plan } from "./plan.ts";

const THREE = ["n1", "n2", "n3"].map((name) => node(name));

function addresses(planned: Plan, name: string): string[] | undefined {
  return planned.placements.get(`t/${name}`)?.addresses.map((placed) => placed.address);
}

function owners(planned: Plan, name: string): Record<string, number> {
  return Object.fromEntries([...tally(slotTable(planned.placements.get(`t/${name}`), "owners"))].sort());
}

function verdict(planned: Plan, name: string, type: string) {
  return planned.gateways.get(`t/${name}`)?.conditions.find((c) => c.type === type);
}

/** The input after its plan has been published. */
function settled(input: PlanInput): PlanInput {
  return publish(input, plan(input));
}

function accepted(object: NatGateway, observedGeneration = object.metadata.generation): NatGateway {
  const conditions = [condition("Accepted", "True", observedGeneration)];
  return { ...object, status: { observedGeneration, addresses: [], owners: {}, conditions } };
}

test("older gateways take the lowest addresses, and every address of a block is used", () => {
  const gateways = [
    gateway("g1", { age: 2 }),
    gateway("g2", { age: 1, count: 2 }),
    gateway("g3", { age: 3 }),
  ];
  const planned = plan(cloud({ nodes: THREE, gateways, pools: [pool("p1", ["203.0.113.0/30"])] }));
  assert.deepEqual(addresses(planned, "g2"), ["203.0.113.0", "203.0.113.1"]);
  assert.deepEqual(addresses(planned, "g1"), ["203.0.113.2"]);
  assert.deepEqual(addresses(planned, "g3"), ["203.0.113.3"]);
  const { total, allocated, conditions } = planned.pools.get("p1")!;
  assert.deepEqual([total, allocated], [4, 4]);
  assert(conditions.every((c) => c.status === "True"));
});

test("blocks of a pool that lie within each other count once", () => {
  const pools = [pool("p1", ["203.0.113.0/31", "203.0.113.0/30"])];
  assert.equal(plan(cloud({ pools })).pools.get("p1")?.total, 4);
});

test("a gateway that gets only some of its addresses works with those, and is told numbers and remedy", () => {
  const pools = [pool("p1", ["203.0.113.0/31"])];
  const planned = plan(cloud({ nodes: THREE, pools, gateways: [gateway("g1", { count: 3 })] }));
  assert.deepEqual(addresses(planned, "g1"), ["203.0.113.0", "203.0.113.1"]);
  assert.equal(verdict(planned, "g1", "Ready")?.status, "True");
  assert.deepEqual(verdict(planned, "g1", "AddressesAllocated"), {
    type: "AddressesAllocated",
    status: "False",
    reason: "PoolExhausted",
    message:
      "has 2 of 3 addresses: all 2 of AddressPool p1 are taken; add a block to the pool, lower spec.addresses.count, or name another pool",
    observedGeneration: 1,
  });
  assert.match(
    planned.pools.get("p1")!.conditions.find((c) => c.type === "Sufficient")!.message,
    /ask for 1 more/,
  );
});

test("a gateway without any address keeps its sources enrolled, so that they do not leave untranslated", () => {
  const pools = [pool("p1", ["203.0.113.0/32"])];
  const planned = plan(cloud({ nodes: THREE, pools, gateways: [gateway("g1"), gateway("g2", { age: 1 })] }));
  assert.equal(verdict(planned, "g2", "Ready")?.reason, "NoAddress");
  const config = planned.nodeConfigs.get("n1")?.gateways.find((g) => g.name === "g2");
  assert.deepEqual([config?.sources, config?.addresses], [["10.0.2.0/24"], []]);
});

test("a lower count drops the last address; a higher one adds the lowest free one", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1", { count: 3 })] }));
  const fewer = settled({ ...input, gateways: [gateway("g1", { count: 1, generation: 2 })] });
  assert.deepEqual(addresses(plan(fewer), "g1"), ["203.0.113.0"]);
  const more = plan({ ...fewer, gateways: [gateway("g1", { count: 2, generation: 3 })] });
  assert.deepEqual(addresses(more, "g1"), ["203.0.113.0", "203.0.113.1"]);
});

test("an address that left the pool is taken away, replaced and told of", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const planned = plan({ ...input, pools: [pool("p1", ["198.51.100.0/24"])] });
  assert.deepEqual(addresses(planned, "g1"), ["198.51.100.0"]);
  assert.deepEqual([...planned.withdrawn], [["t/g1", ["203.0.113.0"]]]);
});

test("a gateway whose pool is deleted goes on with what it has; a new one is refused", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const planned = plan({ ...input, pools: [], gateways: [...input.gateways, gateway("g2", { age: 1 })] });
  assert.deepEqual(planned.placements.get("t/g1"), input.placements[0]?.spec);
  assert.equal(verdict(planned, "g1", "Accepted")?.reason, "PoolNotFound");
  assert.equal(verdict(planned, "g1", "Ready")?.status, "True");
  assert.equal(addresses(planned, "g2"), undefined);
  assert.match(verdict(planned, "g2", "Accepted")!.message, /no AddressPool p1; create it/);
});

test("the addresses of a gateway whose pool is broken are given to nobody else", () => {
  const broken = pool("p1", ["203.0.113.0/24"], 5);
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")], pools: [broken] }));
  const pools = [broken, pool("p2", ["203.0.113.0/30"], 1)];
  const planned = plan({
    ...input,
    pools,
    gateways: [...input.gateways, gateway("g2", { pool: "p2", age: 1 })],
  });
  assert.match(
    planned.pools.get("p1")!.conditions[0]!.message,
    /203\.0\.113\.0\/24 overlaps 203\.0\.113\.0\/30 of AddressPool p2/,
  );
  assert.deepEqual(addresses(planned, "g1"), ["203.0.113.0"]);
  assert.deepEqual(addresses(planned, "g2"), ["203.0.113.1"]);
});

test("when a cell is deleted, its placements and configurations stay as they are", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const planned = plan({ ...input, cells: [] });
  assert.deepEqual(planned.placements.get("t/g1"), input.placements[0]?.spec);
  assert.deepEqual([...planned.untouched].sort(), ["n1", "n2", "n3"]);
  assert.equal(planned.nodes.get("n1")?.reason, "CellNotFound");
});

test("a gateway that is edited to name a cell that does not exist goes on in the one where it is", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const planned = plan({ ...input, gateways: [gateway("g1", { cell: "c9", generation: 2 })] });
  assert.deepEqual(planned.placements.get("t/g1"), input.placements[0]?.spec);
  assert.equal(planned.nodeConfigs.get("n1")?.gateways.length, 1);
  assert.equal(verdict(planned, "g1", "Accepted")?.reason, "CellNotFound");
});

test("of two gateways with the same sources the older one is served", () => {
  const gateways = [gateway("g1", { age: 2 }), gateway("g2", { age: 1, sources: ["10.0.0.0/16"] })];
  const planned = plan(cloud({ nodes: THREE, gateways }));
  assert.equal(verdict(planned, "g2", "Accepted")?.status, "True");
  assert.match(
    verdict(planned, "g1", "Accepted")!.message,
    /10\.0\.1\.0\/24 overlaps 10\.0\.0\.0\/16 of NatGateway t\/g2 in cell c1/,
  );
  assert.deepEqual(
    planned.nodeConfigs.get("n1")?.gateways.map((g) => g.name),
    ["g2"],
  );
});

test("an edit cannot take the sources of a younger gateway that was granted them", () => {
  const young = accepted(gateway("g2", { age: 9 }));
  const greedy = accepted(gateway("g1", { sources: ["10.0.0.0/16"], generation: 2 }), 1);
  const planned = plan(settled(cloud({ nodes: THREE, gateways: [young, greedy] })));
  assert.equal(verdict(planned, "g2", "Accepted")?.status, "True");
  assert.equal(verdict(planned, "g1", "Accepted")?.reason, "SourceOverlap");
});

test("gateways of different cells may have the same sources", () => {
  const gateways = [gateway("g1"), gateway("g2", { cell: "c2", sources: ["10.0.1.0/24"] })];
  const nodes = [...THREE, node("n4", { cell: "c2" })];
  const planned = plan(cloud({ cells: [cell("c1"), cell("c2")], nodes, gateways }));
  assert.deepEqual(owners(planned, "g2"), { n4: 63 });
});

test("slots are in proportion to weights", () => {
  const nodes = [node("n1", { weight: 100 }), node("n2", { weight: 200 })];
  assert.deepEqual(owners(plan(cloud({ nodes, gateways: [gateway("g1")] })), "g1"), { n1: 21, n2: 42 });
});

test("every address has slots on all nodes", () => {
  const planned = plan(cloud({ nodes: THREE, gateways: [gateway("g1", { count: 4 })] }));
  for (const { owners: row } of planned.placements.get("t/g1")!.addresses) {
    assert.deepEqual(
      [0, 1, 2].map((n) => row.filter((owner) => owner === n).length),
      [21, 21, 21],
    );
  }
});

test("a shard is spread over the zones, and the next in line stands in another zone where it can", () => {
  const nodes = Array.from({ length: 12 }, (_, i) =>
    node(`n${i}`, { zone: i < 8 ? "a" : i < 10 ? "b" : "c" }),
  );
  const zoneOf = (name: string): string =>
    nodes.find((n) => n.metadata.name === name)!.metadata.labels["topology.natto.dev/zone"]!;
  for (let g = 0; g < 20; g++) {
    const planned = plan(cloud({ nodes, gateways: [gateway(`g${g}`, { size: 6 })] }));
    const zones = Object.keys(owners(planned, `g${g}`))
      .map(zoneOf)
      .sort();
    assert.deepEqual(zones, ["a", "a", "b", "b", "c", "c"]);
  }
  const pair = [node("n1", { zone: "a" }), node("n2", { zone: "a" }), node("n3", { zone: "b" })];
  const spec = plan(cloud({ nodes: pair, gateways: [gateway("g1")] })).placements.get("t/g1");
  const backups = slotTable(spec, "backups");
  const ofN1 = [...slotTable(spec, "owners")].filter(([, owner]) => owner === "n1");
  const elsewhere = ofN1.filter(([slot]) => backups.get(slot) === "n3").length;
  assert(elsewhere >= Math.floor(ofN1.length / 2), `${elsewhere} of ${ofN1.length}`);
});

const OUT: Readonly<Record<string, NodeTraits>> = {
  "is draining": { drain: true },
  "has no weight": { weight: 0 },
  "says that it is not ready": { ready: "False" },
  "has not said whether it is ready": { ready: "Unknown" },
  "stands in another cell": { cell: "c2" },
};
for (const [why, traits] of Object.entries(OUT)) {
  test(`a node that ${why} gets no slots`, () => {
    const nodes = [node("n1"), node("n2", traits)];
    const planned = plan(cloud({ cells: [cell("c1"), cell("c2")], nodes, gateways: [gateway("g1")] }));
    assert.deepEqual(owners(planned, "g1"), { n1: 63 });
  });
}

test("when no node is eligible, slots stay where they were, also on nodes that drain: nobody could take them", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const lost = plan({ ...input, members: new Map() });
  assert.deepEqual(owners(lost, "g1"), { n1: 21, n2: 21, n3: 21 });
  assert.equal(verdict(lost, "g1", "Ready")?.reason, "NoEligibleNode");
  const nodes = [node("n1", { drain: true }), ...THREE.slice(1)];
  const drained = plan({ ...input, nodes, members: new Map() });
  assert.deepEqual(owners(drained, "g1"), { n1: 21, n2: 21, n3: 21 });
});

test("a node that is drained while nobody can take its slots over keeps them until somebody can; when all are drained it does not", () => {
  const input = settled(cloud({ nodes: THREE, gateways: [gateway("g1")] }));
  const nodes = [node("n1", { drain: true }), ...THREE.slice(1)];
  const silent = new Map([...allAlive(nodes), ["n2", "unmanaged"] as const, ["n3", "gone"] as const]);
  assert.deepEqual(owners(plan({ ...input, nodes, members: silent }), "g1"), { n1: 21, n2: 21, n3: 21 });
  const helped = new Map([...silent, ["n2", "alive"] as const]);
  assert.deepEqual(owners(plan({ ...input, nodes, members: helped }), "g1"), { n2: 63 });
  const all = THREE.map(({ metadata }) => node(metadata.name, { drain: true }));
  assert.deepEqual(owners(plan({ ...input, nodes: all, members: allAlive(all) }), "g1"), {});
});

test("while the only node of a shard is unmanaged, another one takes the slots that are new", () => {
  const input = settled(cloud({ nodes: [node("n1")], gateways: [gateway("g1", { size: 1 })] }));
  const nodes = [node("n1"), node("n2")];
  const gateways = [gateway("g1", { size: 1, count: 2, generation: 2 })];
  const planned = plan({
    ...input,
    nodes,
    gateways,
    members: new Map([
      ["n1", "unmanaged"],
      ["n2", "alive"],
    ]),
  });
  assert.deepEqual(owners(planned, "g1"), { n1: 63, n2: 63 });
});

test("a gateway in a cell without nodes has its addresses, and nobody owns its slots", () => {
  const planned = plan(cloud({ nodes: [], gateways: [gateway("g1")] }));
  assert.deepEqual(addresses(planned, "g1"), ["203.0.113.0"]);
  assert(planned.placements.get("t/g1")!.addresses[0]!.owners.every((owner) => owner === NOBODY));
  assert.equal(planned.cells.get("c1")?.conditions.find((c) => c.type === "Ready")?.status, "False");
});

test("of two nodes with one address the older works, and the other is told", () => {
  const twin = node("n2", { address: "192.0.2.2", age: 5 });
  const nodes = [node("n1", { address: "192.0.2.2" }), twin];
  const planned = plan(cloud({ nodes, gateways: [gateway("g1")] }));
  assert.deepEqual(owners(planned, "g1"), { n1: 63 });
  assert.equal(planned.nodes.get("n2")?.reason, "DuplicateAddress");
  assert.deepEqual([...planned.nodeConfigs.keys()], ["n1"]);
});

test("every node of a cell is configured, with all others as its peers, whether it may own slots or not", () => {
  const nodes = [...THREE, node("n4", { drain: true })];
  const planned = plan(cloud({ nodes, gateways: [gateway("g1")], members: allAlive(THREE) }));
  assert.deepEqual(
    planned.nodeConfigs.get("n4")?.peers.map((p) => p.name),
    ["n1", "n2", "n3"],
  );
  assert.deepEqual(
    planned.nodeConfigs.get("n1")?.peers.map((p) => p.name),
    ["n2", "n3", "n4"],
  );
  assert.equal(planned.nodeConfigs.get("n1")?.gateways, planned.nodeConfigs.get("n4")?.gateways);
});

test("a doubted loss is shown by the cell", () => {
  const planned = plan({ ...cloud({ nodes: THREE }), doubted: new Map([["c1", ["n2", "n3"]]]) });
  const doubt = planned.cells.get("c1")?.conditions.find((c) => c.type === "MembershipDoubted");
  assert.equal(doubt?.status, "True");
  assert.match(
    doubt?.message ?? "",
    /2 of 3 nodes vanished at once \(n2, n3\).*spec\.membership\.confirmedLost, drained or deleted/,
  );
});

test("the routing of a cell reaches the configuration of its nodes, each with its own changes, and a change of it reaches them again", () => {
  const routing = (localAs: number) =>
    cellRoutingSchema.parse({
      driver: "bird",
      localAs,
      sessions: [{ name: "in", side: "inside", peerAs: 1 }],
    });
  const routed = (localAs: number): Cell => {
    const plain = cell("c1");
    return { ...plain, spec: { ...plain.spec, routing: routing(localAs) } };
  };
  const silent = node("n2");
  const own = nodeRoutingSchema.parse({ announce: false });
  const nodes = [node("n1"), { ...silent, spec: { ...silent.spec, routing: own } }];
  const planner = createPlanner();
  const first = planner(cloud({ nodes, cells: [routed(64600)] })).nodeConfigs;
  const said = ["n1", "n2"].map((name) => first.get(name)?.routing?.announce);
  assert.deepEqual(said, [true, false]);
  const second = planner(cloud({ nodes, cells: [routed(64601)] })).nodeConfigs;
  const changed = second.get("n1")?.routing;
  assert.equal(changed?.driver === "bird" && changed.localAs, 64601);
  assert.equal(planner(cloud({ nodes })).nodeConfigs.get("n1")?.routing, undefined);
});

test("a gateway whose ports are nearly used up on a node, or that refuses flows there, says so and what to do", () => {
  const full = { ports: "203.0.113.0:1024-2047", protocol: "udp", used: 820, of: 1024 } as const;
  const usage: GatewayUsage = {
    gateway: "t/g1",
    sessions: 1,
    addresses: [],
    fullest: full,
    ...{ peakPercent: 80, refused: 0, refusing: false, endpoints: [] },
  };
  const reporting = (change: Partial<GatewayUsage>) =>
    THREE.map((n, i) => (i === 1 ? { ...n, status: { ...n.status!, usage: [{ ...usage, ...change }] } } : n));
  const judged = (change: Partial<GatewayUsage>) => {
    const planned = plan(cloud({ nodes: reporting(change), gateways: [gateway("g1"), gateway("g2")] }));
    assert.equal(verdict(planned, "g2", "PortsLow")?.status, "False");
    return ["PortsLow", "PortsExhausted"].map((type) => verdict(planned, "g1", type));
  };
  const [low, enough] = judged({});
  assert.deepEqual([low?.status, enough?.status], ["True", "False"]);
  assert.match(low?.message ?? "", /at least 80 % used toward one remote on n2; add addresses/);
  const [notYet, exhausted] = judged({ fullest: { ...full, used: 819 }, refusing: true });
  assert.deepEqual([notYet?.status, exhausted?.status], ["False", "True"]);
  assert.match(exhausted?.message ?? "", /new flows found no free port on n2; add addresses/);
});
