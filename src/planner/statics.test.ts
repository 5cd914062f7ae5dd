/** Floating addresses and port forwards in plans: what each gets, what the nodes are told, and what is said when two want the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FloatingAddress } from "../model/floating-address.ts";
import type { PortForward } from "../model/port-forward.ts";
import { cloud, condition, float, forward, gateway, node, pool, publish } from "./fixtures.ts";
import { ACCEPTED } from "./order.ts";
import { type Plan, type PlanInput, plan } from "./plan.ts";

const NODES = [node("n1"), node("n2")];
const given = (parts: Partial<PlanInput>) =>
  cloud({ nodes: NODES, pools: [pool("p1", ["203.0.113.0/29"])], ...parts });

function told(planned: Plan) {
  const specs = ["n1", "n2"].map((name) => planned.nodeConfigs.get(name)!);
  const [first, second] = specs.map(({ floatingAddresses = [], portForwards = [] }) => [
    ...floatingAddresses.map((f) => `${f.address} = ${f.inside}`),
    ...portForwards.map(
      (f) => `${f.protocol} ${f.address}:${f.port}+${f.count} -> ${f.inside}:${f.insidePort}`,
    ),
  ]);
  assert.deepEqual(first, second, "every node of the cell is told the same");
  return first;
}

/** The condition Accepted of a floating address or forward: its reason and message. */
function said(planned: Plan, kind: "floats" | "forwards", name: string): string {
  const found = planned[kind].get(`t/${name}`)?.conditions.find(({ type }) => type === ACCEPTED);
  assert(found);
  return `${found.reason}: ${found.message}`;
}

const accepted = <O extends FloatingAddress | PortForward>(object: O, address: string): O => ({
  ...object,
  status: { observedGeneration: 1, address, conditions: [condition(ACCEPTED, "True")] },
});

test("a floating address is the lowest free one of its pool, or the one that it asks for, and stays", () => {
  const floats = [
    float("any", "10.9.0.1", { age: 1 }),
    float("this", "10.9.0.2", { address: "203.0.113.2", age: 2 }),
  ];
  const input = given({ gateways: [gateway("g1", { count: 2 })], floats });
  const planned = plan(input);
  assert.deepEqual(told(planned), ["203.0.113.3 = 10.9.0.1", "203.0.113.2 = 10.9.0.2"]);
  const { total, allocated } = planned.pools.get("p1")!;
  assert.deepEqual([total, allocated], [8, 4]);
  const later = publish({ ...input, gateways: [] }, planned);
  assert.deepEqual(told(plan({ ...later, gateways: [] })), told(planned), "though lower ones are free now");
});

test("an address that somebody has is not taken away by asking for it", () => {
  const input = given({ gateways: [gateway("g1", { age: 5 })] });
  const settled = publish(input, plan(input));
  const planned = plan({
    ...settled,
    floats: [float("greedy", "10.9.0.1", { address: "203.0.113.0", age: 1 })],
  });
  assert.match(said(planned, "floats", "greedy"), /^AddressTaken: spec\.address: 203\.0\.113\.0 is not free/);
  assert.deepEqual(
    planned.placements.get("t/g1")?.addresses.map((a) => a.address),
    ["203.0.113.0"],
  );
  assert.deepEqual(told(planned), []);
});

test("a host has one floating address: the one that was accepted first", () => {
  const floats = [
    float("new", "10.9.0.1", { age: 1 }),
    accepted(float("old", "10.9.0.1", { age: 2 }), "203.0.113.5"),
  ];
  const planned = plan(given({ floats }));
  assert.deepEqual(told(planned), ["203.0.113.5 = 10.9.0.1"]);
  assert.match(said(planned, "floats", "new"), /^InsideTaken: .*FloatingAddress t\/old already/);
  assert.equal(planned.floats.get("t/new")?.address, undefined);
});

test("a forward takes its gateway's first address, or the one that it names, and follows it no further than it must", () => {
  const gateways = [gateway("g1", { count: 2 })];
  const forwards = [
    forward("first", { port: 80, inside: "10.0.1.5:8080" }),
    forward("second", { port: 8000, lastPort: 8009, inside: "10.0.1.6:9000", address: "203.0.113.1" }),
    forward("third", { port: 22, inside: "10.0.1.6:22", address: "203.0.113.7" }),
  ];
  const planned = plan(given({ gateways, forwards }));
  assert.deepEqual(told(planned), [
    "tcp 203.0.113.0:80+1 -> 10.0.1.5:8080",
    "tcp 203.0.113.1:8000+10 -> 10.0.1.6:9000",
  ]);
  assert.match(
    said(planned, "forwards", "third"),
    /^AddressNotOfGateway: .*203\.0\.113\.7 is none of the addresses/,
  );
});

test("forwards of a namespace share an address of a pool, and nobody else gets it", () => {
  const from = { pool: "p1", address: "203.0.113.4" };
  const forwards = [
    forward("a", { port: 80, inside: "10.0.1.5:80", ...from, age: 1 }),
    forward("b", { port: 443, inside: "10.0.1.6:443", ...from, age: 2 }),
    forward("c", { port: 25, inside: "10.0.1.7:25", ...from, age: 3, namespace: "other" }),
  ];
  const floats = [float("f", "10.9.0.1", { address: "203.0.113.4", age: 4 })];
  const input = given({ forwards });
  const settled = publish(input, plan(input));
  const planned = plan({ ...settled, floats });
  assert.deepEqual(told(planned), [
    "tcp 203.0.113.4:80+1 -> 10.0.1.5:80",
    "tcp 203.0.113.4:443+1 -> 10.0.1.6:443",
  ]);
  assert.match(said(planned, "floats", "f"), /^AddressTaken/);
  const foreign = planned.forwards.get("other/c")?.conditions.find(({ type }) => type === ACCEPTED);
  assert.equal(foreign?.reason, "AddressTaken");
});

test("no port has two targets, and no target two ports", () => {
  const gateways = [gateway("g1")];
  const forwards = [
    forward("a", { port: 8000, lastPort: 8010, inside: "10.0.1.5:80", age: 1 }),
    forward("b", { port: 8010, inside: "10.0.1.6:80", age: 2 }),
    forward("c", { port: 9000, inside: "10.0.1.5:90", age: 3 }),
    forward("d", { port: 8010, inside: "10.0.1.7:53", protocol: "udp", age: 4 }),
  ];
  const planned = plan(given({ gateways, forwards }));
  assert.match(
    said(planned, "forwards", "b"),
    /^PortTaken: spec\.port: tcp 203\.0\.113\.0:8010 overlaps PortForward t\/a/,
  );
  assert.match(
    said(planned, "forwards", "c"),
    /^TargetTaken: spec\.inside: tcp 10\.0\.1\.5:90 overlaps PortForward t\/a/,
  );
  assert.deepEqual(told(planned), [
    "tcp 203.0.113.0:8000+11 -> 10.0.1.5:80",
    "udp 203.0.113.0:8010+1 -> 10.0.1.7:53",
  ]);
});

test("what refers to a missing cell, pool or gateway is told so; what is in operation goes on with its address", () => {
  const floats = [
    float("nowhere", "10.9.0.1", { cell: "c9" }),
    float("dry", "10.9.0.2", { pool: "p9" }),
    accepted(float("kept", "10.9.0.3", { pool: "p9" }), "203.0.113.6"),
  ];
  const forwards = [forward("lost", { port: 80, inside: "10.0.1.5:80", gateway: "g9" })];
  const planned = plan(given({ floats, forwards }));
  assert.match(said(planned, "floats", "nowhere"), /^CellNotFound/);
  assert.match(said(planned, "floats", "dry"), /^PoolNotFound: .*create it or correct the name$/);
  assert.match(said(planned, "floats", "kept"), /^PoolNotFound: .*Until then it goes on with what it has$/);
  assert.match(said(planned, "forwards", "lost"), /^GatewayNotFound/);
  assert.deepEqual(told(planned), ["203.0.113.6 = 10.9.0.3"]);
});
