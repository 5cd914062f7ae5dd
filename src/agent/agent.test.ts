import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import type { Repair } from "../dataplane/dataplane.ts";
import { startMember } from "../membership/open-membership.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { type RunningServer, startServer } from "../server/server.ts";
import { rejectsWith, until } from "../store/fixtures.ts";
import { openHttpStore } from "../store/http-store.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { type Agent, type AgentOptions, startAgent } from "./agent.ts";
import {
  declaredGateway,
  hasContent,
  nodeConfig,
  type RecordingDataplane,
  recordingDataplane,
  recordLogs,
  temporaryFolder,
} from "./fixtures.ts";
import { readSnapshot, SNAPSHOT_FILE, writeSnapshot } from "./snapshot.ts";

const IDENTITY = {
  node: "a",
  cell: "c1",
  address: "127.84.0.1",
  interfaces: { inside: "in0", outside: "out0" },
  labels: {},
};

interface Running {
  readonly agent: Agent;
  readonly dataplane: RecordingDataplane;
  readonly folder: string;
  texts(): readonly string[];
}

/** Starts an agent that is stopped when the test is over. */
async function start(t: TestContext, store: Store, change: Partial<AgentOptions> = {}): Promise<Running> {
  const dataplane = recordingDataplane();
  const folder = change.stateFolder ?? (await temporaryFolder(t));
  const { logger, texts } = recordLogs();
  const agent = await startAgent({
    identity: IDENTITY,
    pinFolder: join(folder, "pins"),
    stateFolder: folder,
    maxSessions: 1024,
    store,
    openDataplane: () => dataplane,
    logger,
    version: "0.0.0",
    repairIntervalMs: 10,
    countersIntervalMs: 20,
    ...change,
  });
  t.after(() => agent.close());
  return { agent, dataplane, folder, texts };
}

/** `status reason` of a condition of the node, as the store has it. */
async function told(store: Store, type: string): Promise<string | undefined> {
  const node = await nodeOf(store);
  const found = node?.status?.conditions.find((c) => c.type === type);
  return found && `${found.status} ${found.reason}`;
}

function nodeOf(store: Store): Promise<GatewayNode | undefined> {
  return store.get({ kind: "GatewayNode", name: "a" });
}

function gatewaysOf({ dataplane }: Running): number | undefined {
  return dataplane.ensured.at(-1)?.gateways.length;
}

/** A server on this port over the store; stopped when the test is over. */
async function serve(t: TestContext, store: Store, port = 0): Promise<RunningServer> {
  const logger = pino({ level: "silent" });
  const server = await startServer({ store, host: "127.0.0.1", port, logger });
  let closed: Promise<void> | undefined;
  const running = { ...server, close: () => (closed ??= server.close()) };
  t.after(running.close);
  return running;
}

test("a node registers, is told to be ready when its configuration is applied, and renews its lease", async (t) => {
  const store = openMemoryStore();
  const running = await start(t, store);
  await until(async () => (await told(store, "Ready")) === "False NoConfig", "it waits for a NodeConfig");
  await store.create<"NodeConfig">(nodeConfig(2));
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  assert.equal(gatewaysOf(running), 2);
  const status = (await nodeOf(store))?.status;
  assert.equal(status?.applied?.generation, 1);
  await until(async () => ((await nodeOf(store))?.status?.counters.translated_out ?? 0) > 0, "it counts");
  await until(async () => (await store.get({ kind: "Lease", name: "a" })) !== undefined, "it has a lease");
});

test("the lease of an agent that registers with Consul says so, also while Consul is away", async (t) => {
  const store = openMemoryStore();
  const startRegistration = startMember("consul://127.0.0.1:1", recordLogs().logger);
  assert.ok(startRegistration);
  await start(t, store, { startRegistration });
  const lease = () => store.get({ kind: "Lease", name: "a" });
  await until(async () => (await lease()) !== undefined, "it has a lease");
  assert.equal((await lease())?.spec.membership, "consul");
});

test("a change of the configuration is applied, saved as the snapshot and reported", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(2));
  const running = await start(t, store);
  await until(() => gatewaysOf(running) === 2, "the first is applied");
  await store.update<"NodeConfig">(nodeConfig(3));
  await until(async () => (await nodeOf(store))?.status?.applied?.generation === 2, "the second is reported");
  await until(async () => {
    const read = await readSnapshot(running.folder, "a", 0);
    return read.found === "good" && read.config.spec.gateways.length === 3;
  }, "the second is saved");
});

test("with the store away, a node starts from its snapshot, and catches up when the store is back", async (t) => {
  const memory = openMemoryStore();
  const first = await serve(t, memory);
  const store = openHttpStore(first.url);
  await first.close();
  const folder = await temporaryFolder(t);
  await writeSnapshot(folder, nodeConfig(4));
  const running = await start(t, store, { stateFolder: folder });
  await until(() => gatewaysOf(running) === 4, "the snapshot is applied");
  assert.equal(await nodeOf(memory), undefined);
  await memory.create<"NodeConfig">(nodeConfig(5));
  await serve(t, memory, Number(new URL(first.url).port));
  await until(() => gatewaysOf(running) === 5, "the store's configuration is applied");
  await until(async () => (await told(memory, "StoreReachable")) === "True ReachableAgain", "it tells of it");
  assert.equal(await told(memory, "Ready"), "True Programmed");
});

test("when the store goes away, the node keeps what it has and goes on verifying it", async (t) => {
  const memory = openMemoryStore();
  await memory.create<"NodeConfig">(nodeConfig(2));
  const server = await serve(t, memory);
  const running = await start(t, openHttpStore(server.url));
  await until(async () => (await told(memory, "Ready")) === "True Programmed", "it is ready");
  await server.close();
  const calls = running.dataplane.ensured.length;
  await until(() => running.dataplane.ensured.length > calls + 5, "it goes on");
  assert.equal(gatewaysOf(running), 2);
});

test("a NodeConfig that is deleted is not obeyed, and obeyed again when it is back", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(2));
  const running = await start(t, store);
  await until(() => gatewaysOf(running) === 2, "it is applied");
  await store.delete({ kind: "NodeConfig", name: "a" });
  await until(async () => (await told(store, "ConfigDoubted")) === "True Deleted", "the news is doubted");
  assert.equal(gatewaysOf(running), 2);
  assert.equal(await told(store, "Ready"), "True Programmed");
  await store.create<"NodeConfig">(nodeConfig(3));
  await until(async () => (await told(store, "ConfigDoubted")) === "False Trusted", "there is no doubt");
  await until(() => gatewaysOf(running) === 3, "the new one is applied");
});

test("the loss of all gateways is doubted while they are declared, and obeyed when they were deleted", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(2));
  await store.create<"NatGateway">(declaredGateway("gw-0"));
  const running = await start(t, store);
  await until(() => gatewaysOf(running) === 2, "it is applied");
  await store.update<"NodeConfig">(nodeConfig(0));
  await until(async () => (await told(store, "ConfigDoubted")) === "True Emptied", "the news is doubted");
  assert.equal(gatewaysOf(running), 2);
  await store.delete({ kind: "NatGateway", namespace: "team", name: "gw-0" });
  await store.update<"NodeConfig">(nodeConfig(0, { peers: [{ name: "b", address: "127.84.0.3" }] }));
  await until(() => gatewaysOf(running) === 0, "it is obeyed");
});

test("a damaged snapshot is told, kept aside, and replaced by what the store has", async (t) => {
  const store = openMemoryStore();
  const folder = await temporaryFolder(t);
  writeFileSync(join(folder, SNAPSHOT_FILE), "natto-snapshot 1 0000\n{}");
  await start(t, store, { stateFolder: folder });
  await until(async () => (await told(store, "SnapshotGood")) === "False Refused", "the refusal is told");
  await store.create<"NodeConfig">(nodeConfig(1));
  await until(async () => (await told(store, "SnapshotGood")) === "True Saved", "a good one is saved");
  assert.ok(hasContent(join(folder, SNAPSHOT_FILE)));
});

test("a dataplane that fails is told, with the lease kept, and told to be ready when it works", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(1));
  const running = await start(t, store, {
    openDataplane: () => {
      const dataplane = recordingDataplane();
      let faults = 2;
      dataplane.behave = async () => {
        if (faults-- > 0) throw new Error("no such interface");
        return [];
      };
      return dataplane;
    },
  });
  await until(async () => (await told(store, "Ready")) === "False DataplaneFailed", "the failure is told");
  assert.ok((await store.get({ kind: "Lease", name: "a" })) !== undefined);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  assert.ok(running.texts().some((text) => text.includes("no such interface")));
});

test("after a reboot, a node that was ready is told not to be before its first heartbeat", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(1));
  const before = await start(t, store);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  await before.agent.close();
  await store.delete({ kind: "Lease", name: "a" });
  const gate = Promise.withResolvers<readonly Repair[]>();
  const dataplane = recordingDataplane();
  dataplane.behave = () => gate.promise;
  await start(t, store, { openDataplane: () => dataplane });
  await until(async () => (await store.get({ kind: "Lease", name: "a" })) !== undefined, "it has a lease");
  assert.equal(await told(store, "Ready"), "False Starting");
  gate.resolve([]);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
});

test("what was changed behind the agent's back is told in the node's conditions", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(1));
  const running = await start(t, store);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  let changed = true;
  running.dataplane.behave = async () => {
    const found: readonly Repair[] = changed ? [{ what: "attach", detail: "in0: program was detached" }] : [];
    changed = false;
    return found;
  };
  await until(async () => (await told(store, "Repaired")) === "True Drift", "the repair is told");
});

test("a GatewayNode that somebody deletes is registered anew", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(1));
  await start(t, store);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  const uid = (await nodeOf(store))?.metadata.uid;
  await store.delete({ kind: "GatewayNode", name: "a" });
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is there again");
  assert.notEqual((await nodeOf(store))?.metadata.uid, uid);
});

test("a second agent in the same folders refuses to start, and one after the first has stopped does not", async (t) => {
  const store = openMemoryStore();
  const first = await start(t, store);
  const error = await rejectsWith(start(t, store, { stateFolder: first.folder }), "Environment");
  assert.match(error.message, /works in this folder; stop that agent first/);
  await first.agent.close();
  await start(t, store, { stateFolder: first.folder });
});

test("an agent that stops tells so, lets go of the dataplane, and stays ready", async (t) => {
  const store = openMemoryStore();
  await store.create<"NodeConfig">(nodeConfig(1));
  const running = await start(t, store);
  await until(async () => (await told(store, "Ready")) === "True Programmed", "it is ready");
  await running.agent.close();
  assert.equal(await told(store, "AgentRunning"), "False Stopped");
  assert.equal(await told(store, "Ready"), "True Programmed");
  assert.ok(running.dataplane.closed);
});

test("an identity that breaks the rules is refused before anything is made", async (t) => {
  const identity = { ...IDENTITY, node: "Not A Name" };
  const error = await rejectsWith(start(t, openMemoryStore(), { identity }), "Invalid");
  assert.equal(error.details[0]?.field, "metadata.name");
});
