import assert from "node:assert/strict";
import { test } from "node:test";
import type { Allocation } from "../model/allocation.ts";
import { nodeConfig, SLOT_SIZE } from "../model/fixtures.ts";
import { address } from "../model/ipv4.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { makeUsageTally, type UsageRecord } from "./usage-tally.ts";

const PUBLIC = "198.51.100.0";

function configOf(allocation?: Allocation): NodeConfig["spec"] {
  const { spec } = nodeConfig(1);
  return allocation ? { ...spec, gateways: spec.gateways.map((g) => ({ ...g, allocation })) } : spec;
}

/** A TCP session that holds its port by itself. */
function record(change: Partial<UsageRecord>): UsageRecord {
  return {
    ...{ isSession: true, holdsPort: true, protocol: "tcp", inside: address("10.0.0.5") },
    ...{ publicAddress: address(PUBLIC), publicPort: 1024, remote: address("192.0.2.9"), remotePort: 443 },
    ...change,
  };
}

function usageOf(records: readonly UsageRecord[], config = configOf()) {
  const tally = makeUsageTally(config, "a");
  for (const one of records) tally.add(one);
  const [usage, ...others] = tally.result();
  assert(usage && others.length === 0);
  return usage;
}

test("a port that serves many remotes is used once, and fills its slot only as much as toward one of them", () => {
  const remotes = Array.from({ length: 50 }, (_, i) => record({ remote: address("192.0.2.9") + i }));
  const usage = usageOf(remotes);
  assert.equal(usage.sessions, 50);
  assert.equal(usage.addresses[0]?.tcp, 1);
  assert.deepEqual([usage.fullest?.used, usage.fullest?.of], [1, SLOT_SIZE]);
});

test("the fullest range is told with the remote toward which it is full", () => {
  const busy = Array.from({ length: 9 }, (_, i) => record({ publicPort: 1024 + SLOT_SIZE + i }));
  const idle = Array.from({ length: 20 }, (_, i) => record({ publicPort: 1024 + i, remotePort: 5000 + i }));
  assert.deepEqual(usageOf([...idle, ...busy]).fullest, {
    ports: `${PUBLIC}:${1024 + SLOT_SIZE}-${1023 + 2 * SLOT_SIZE}`,
    protocol: "tcp",
    remote: "192.0.2.9:443",
    used: 9,
    of: SLOT_SIZE,
  });
});

test("a mapping holds its port for all of its sessions, whatever the remote", () => {
  const mapping = record({ isSession: false, protocol: "udp", remote: 0, remotePort: 0, publicPort: 4000 });
  const sessions = Array.from({ length: 5 }, (_, i) =>
    record({ protocol: "udp", holdsPort: false, remotePort: i }),
  );
  const usage = usageOf([mapping, ...sessions]);
  assert.deepEqual([usage.sessions, usage.addresses[0]?.udp, usage.fullest?.used], [5, 1, 1]);
  assert.equal(usage.fullest?.remote, undefined);
});

test("with deterministic allocation it is an endpoint's block that is full", () => {
  const config = configOf({ method: "Deterministic", portsPerEndpoint: 64 });
  // The block of the endpoint with index 5 begins slot 5.
  const first = 1024 + 5 * SLOT_SIZE;
  const usage = usageOf(
    Array.from({ length: 64 }, (_, i) => record({ publicPort: first + i })),
    config,
  );
  assert.deepEqual([usage.fullest?.used, usage.fullest?.of], [64, 64]);
  assert.equal(usage.fullest?.ports, `${PUBLIC}:${first}-${first + 63}`);
});

test("the ports of this node's own slots are what it has to give", () => {
  // Slots 0, 2, 4 and 6 of 7 are node a's.
  assert.equal(usageOf([]).addresses[0]?.total, 4 * SLOT_SIZE);
});

test("the endpoints with the most sessions come first", () => {
  const of = (last: number, count: number) =>
    Array.from({ length: count }, (_, i) =>
      record({ inside: address("10.0.0.0") + last, publicPort: 2000 + 100 * last + i }),
    );
  assert.deepEqual(usageOf([...of(1, 2), ...of(2, 7), ...of(3, 1), ...of(4, 3)]).endpoints, [
    { address: "10.0.0.2", sessions: 7 },
    { address: "10.0.0.4", sessions: 3 },
    { address: "10.0.0.1", sessions: 2 },
  ]);
});

test("a record of an address that no gateway has any more counts for nobody", () => {
  assert.equal(usageOf([record({ publicAddress: address("203.0.113.99") })]).sessions, 0);
});
