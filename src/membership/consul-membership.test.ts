/** The contract suite on a real cluster of Consul, and what happens when parts of it fail. */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import { startProxy } from "../store/testing/tcp-proxy.ts";
import { openConsulMembership } from "./consul-membership.ts";
import { type ConsulRegistration, type NodeFacts, startConsulRegistration } from "./consul-registration.ts";
import { consulSettings } from "./consul-settings.ts";
import { contractOfMemberships } from "./contract.ts";
import { beat } from "./fixtures.ts";
import type { MemberState } from "./membership.ts";
import { startConsulCluster } from "./testing/consul-cluster.ts";

// Shared by all tests, each with a service of its own.
const cluster = await startConsulCluster({ clients: 2 });
after(() => cluster.close());
const [own, far] = cluster.clients as [(typeof cluster.clients)[number], (typeof cluster.clients)[number]];

const logger = { info: () => {}, warn: () => {} };
const HEALTHY = [{ name: "dataplane", state: "passing", output: "programmed" }] as const;
/** Longer than any pause of a busy machine that the tests must not take for silence. */
const TTL_SECONDS = 3;
let services = 0;

interface World {
  readonly membership: ReturnType<typeof openConsulMembership>;
  readonly store: ReturnType<typeof openMemoryStore>;
  /** Starts the registration of a node, or changes its facts. */
  readonly register: (node: string, change?: Partial<NodeFacts>, agent?: string) => void;
  /** The agent of this node is killed: nothing is renewed and nothing is said. */
  readonly kill: (node: string) => Promise<void>;
  readonly stop: (node: string) => Promise<void>;
  readonly reaches: (node: string, state: MemberState | undefined) => Promise<void>;
}

/** A membership by way of `address`, of a service that nobody else uses. */
function openWorld(t: TestContext, address = own.url()): World {
  const service = `natto-${services++}`;
  const store = openMemoryStore();
  const settings = (url: string) => consulSettings(`${url}?service=${service}&deadlineMs=5000`, {});
  const membership = openConsulMembership(settings(address), store, {
    tickMs: 10,
    settlingMs: { outage: 100, loss: 1_000 },
  });
  const facts = new Map<string, NodeFacts>();
  const registrations = new Map<string, ConsulRegistration>();
  t.after(async () => {
    await Promise.all([...registrations.values()].map((registration) => registration.stop(5_000)));
    await membership.close();
    await store.close();
  });
  return {
    membership,
    store,
    register: (node, change = {}, agent = own.url()) => {
      const before = facts.get(node);
      const basic = { node, cell: "c1", address: "192.0.2.1", version: "test", draining: false };
      facts.set(node, { ...basic, ttlSeconds: TTL_SECONDS, checks: HEALTHY, ...before, ...change });
      const running = registrations.get(node);
      if (running) return running.kick();
      const current = () => facts.get(node)!;
      registrations.set(node, startConsulRegistration({ settings: settings(agent), facts: current, logger }));
    },
    kill: async (node) => {
      await registrations.get(node)?.abandon();
      registrations.delete(node);
    },
    stop: async (node) => {
      await registrations.get(node)?.stop(5_000);
      registrations.delete(node);
    },
    reaches: (node, state) =>
      until(() => membership.current().get(node) === state, `${node} is ${state}`, 40_000),
  };
}

contractOfMemberships("Consul", async (t) => {
  const proxy = await startProxy(own.endpoint);
  t.after(() => proxy.close());
  const { membership, store, register, kill } = openWorld(t, `consul://${proxy.endpoint}`);
  return {
    membership,
    live: async (node, peersAlive = []) => {
      register(node);
      await beat(store, node, peersAlive);
    },
    fallSilent: kill,
    goAway: async () => proxy.block(true),
    comeBack: async () => proxy.block(false),
  };
});

test("a node whose own check is critical is given no slots, one with a warning keeps what it has", async (t) => {
  const { register, reaches } = openWorld(t);
  const say = (state: "passing" | "warning" | "critical") => [{ name: "dataplane", state, output: state }];
  register("n1");
  await reaches("n1", "alive");
  register("n1", { checks: say("warning") });
  await reaches("n1", "unmanaged");
  register("n1", { checks: say("critical") });
  await reaches("n1", "gone");
  register("n1", { checks: say("passing") });
  await reaches("n1", "alive");
});

test("a node that does not know yet how it is does not speak up", async (t) => {
  const { register, reaches, membership } = openWorld(t);
  register("n1", { checks: [{ name: "dataplane", state: undefined, output: "" }] });
  await reaches("n1", "gone");
  assert.equal(membership.current().size, 1);
  register("n1", { checks: HEALTHY });
  await reaches("n1", "alive");
});

test("a draining node is in maintenance, which ends with the drain; a clean stop takes the node out", async (t) => {
  const { register, reaches, stop, store } = openWorld(t);
  for (const node of ["n1", "n2"]) {
    await beat(store, node);
    register(node);
    await reaches(node, "alive");
  }
  register("n1", { draining: true });
  await reaches("n1", "unmanaged");
  register("n1", { draining: false });
  await reaches("n1", "alive");
  await stop("n1");
  await reaches("n1", "gone");
  const left = await cluster.ask(own, "GET", "/v1/agent/services");
  assert(!JSON.stringify(left).includes(`natto-${services - 1}-n1`));
});

test("when the Consul agent of a machine dies, its node is silent, and what its peers see decides", async (t) => {
  const { register, reaches, store } = openWorld(t);
  register("n1");
  register("n2", {}, far.url());
  await beat(store, "n1", ["n2"]);
  await beat(store, "n2");
  await reaches("n1", "alive");
  await reaches("n2", "alive");
  await far.kill();
  await reaches("n2", "unmanaged");
  await beat(store, "n1", []);
  await reaches("n2", "gone");
  far.restart();
  await reaches("n2", "alive");
  await cluster.untilHealthy();
});

test("the death of the leader changes nothing, and what happens after it is told", async (t) => {
  const { register, reaches, membership } = openWorld(t);
  for (const node of ["n1", "n2"]) register(node);
  for (const node of ["n1", "n2"]) await reaches(node, "alive");
  const seen = new Set<MemberState>();
  const note = (): void => {
    for (const node of ["n1", "n2"]) seen.add(membership.current().get(node) ?? "gone");
  };
  membership.onChange(note);
  const leader = await cluster.leader();
  await leader.kill();
  // Elsewhere: an agent of Consul that cannot pass a change on takes no heartbeats meanwhile.
  register("n3", {}, far.url());
  await reaches("n3", "alive");
  assert.deepEqual([...seen], ["alive"]);
  leader.restart();
  await cluster.untilHealthy();
});

test("all servers gone: the last judgement stands and the trouble says so; they come back with nothing, and nobody is given up", async (t) => {
  const { register, reaches, membership } = openWorld(t);
  for (const node of ["n1", "n2"]) register(node);
  for (const node of ["n1", "n2"]) await reaches(node, "alive");
  const before = new Map(membership.current());
  const worse: string[] = [];
  const watching = membership.onChange(() => {
    for (const [node, state] of membership.current()) if (state === "gone") worse.push(node);
  });
  await Promise.all(cluster.servers.map((server) => server.kill()));
  await until(() => membership.trouble() !== undefined, "the trouble is told", 40_000);
  assert.deepEqual(membership.current(), before);
  // An empty catalogue, with an index that begins anew.
  await Promise.all(cluster.servers.map((server) => server.wipe()));
  await cluster.untilHealthy();
  // Consul's agents tell the new servers what they have within minutes; a change of it is told at once.
  for (const node of ["n1", "n2"]) register(node, { version: "again" });
  await until(() => membership.trouble() === undefined, "it is followed again", 40_000);
  for (const node of ["n1", "n2"]) await reaches(node, "alive");
  assert.deepEqual(worse, []);
  watching();
});
