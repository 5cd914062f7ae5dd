/** The command line, a controller and a server straight on a real cluster of etcd. */
import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { pino } from "pino";
import { EXAMPLE, exitOf, lineWith, natto, startNatto } from "../cli/fixtures.ts";
import { startController } from "../controller/controller.ts";
import { openStaticMembership } from "../membership/static-membership.ts";
import { node, slotTable, tally } from "../planner/fixtures.ts";
import { gateway, until } from "./fixtures.ts";
import { openStore } from "./open-store.ts";
import { startEtcdCluster } from "./testing/etcd-cluster.ts";

const cluster = await startEtcdCluster();
after(() => cluster.close());

const NODES = ["n1", "n2", "n3"];
const GATEWAY = { kind: "NatGateway", namespace: "team-a", name: "web" } as const;

test("what natto apply writes to etcd a controller on etcd plans, and natto get shows, with the leader killed in between", async (t) => {
  const server = cluster.url("cloud");
  const store = await openStore(server);
  t.after(() => store.close());
  const membership = openStaticMembership(new Map(NODES.map((name) => [name, "alive"] as const)));
  const controller = startController({ store, membership, logger: pino({ level: "silent" }) });
  t.after(() => controller.close());
  for (const name of NODES) {
    const created = await store.create<"GatewayNode">(node(name, { cell: "main" }));
    await store.updateStatus<"GatewayNode">({ ...created, status: node(name).status });
  }

  const applied = await natto(["apply", "-f", EXAMPLE], { server });
  assert.deepEqual([applied.code, applied.stderr], [0, ""]);
  assert.match(applied.stdout, /^natgateway\.natto\.dev\/team-a\/web created$/m);
  const owners = async (): Promise<readonly string[]> => {
    const placement = await store.get({ ...GATEWAY, kind: "Placement" });
    return [...tally(slotTable(placement?.spec, "owners")).keys()].sort();
  };
  await until(async () => (await owners()).join() === "n1,n2,n3", "every node owns slots");

  const leader = await cluster.leader();
  await leader.kill();
  membership.set(new Map(NODES.map((name, i) => [name, i === 0 ? "gone" : "alive"] as const)));
  await until(
    async () => (await owners()).join() === "n2,n3",
    "the slots of the lost node are given away",
    20_000,
  );
  leader.restart();
  await cluster.untilHealthy();
  const shown = await natto(["get", "gw", "-n", "team-a", "-o", "json"], { server });
  assert.equal(shown.code, 0, shown.stderr);
  assert.equal(
    JSON.parse(shown.stdout).metadata?.name ?? JSON.parse(shown.stdout).items[0].metadata.name,
    "web",
  );
});

/** A `natto server` on the store, and the store behind it. */
async function startServerOn(t: TestContext, store: string) {
  const child = startNatto(t, ["server", "--store", store, "--listen", "127.0.0.1:0"]);
  const { url } = JSON.parse(await lineWith(child.stderr!, '"msg":"ready"')) as { readonly url: string };
  const remote = await openStore(url);
  t.after(() => remote.close());
  return { child, remote };
}

test("natto server serves what is in etcd, and a watch through it follows", async (t) => {
  const etcd = cluster.url("served");
  const { child, remote } = await startServerOn(t, etcd);
  const { resourceVersion } = await remote.list(GATEWAY);
  const applied = await natto(["apply", "-f", EXAMPLE], { server: etcd });
  assert.equal(applied.code, 0, applied.stderr);
  for await (const event of remote.watch(GATEWAY, resourceVersion, t.signal)) {
    if (event.type === "BOOKMARK") continue;
    assert.deepEqual(event.object, await remote.get(GATEWAY));
    break;
  }
  child.kill("SIGTERM");
  assert.equal(await exitOf(child), 0);
});

test("of objects that contradict each other, sent to two servers at the same time, one is admitted", async (t) => {
  const etcd = cluster.url("two-servers");
  const servers = await Promise.all([1, 2].map(async () => (await startServerOn(t, etcd)).remote));
  const behind = await openStore(etcd);
  t.after(() => behind.close());
  for (let round = 0; round < 10; round++) {
    const drafts = servers.map((_, i) => {
      const draft = gateway("t", `g${round}-${i}`, `10.0.${round}.0/24`);
      return { ...draft, spec: { ...draft.spec, cell: "shared" } };
    });
    const results = await Promise.allSettled(servers.map((server, i) => server.create(drafts[i]!)));
    const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
    assert.equal(refused.length, 1, `round ${round}: ${refused.length} of two refused`);
    assert.match(refused[0].message, /10\.0\.\d+\.0\/24 overlaps/);
  }
  assert.equal((await behind.list({ kind: "NatGateway" })).items.length, 10);
});

test("garbage under a key is reported and passed over, its neighbours are served, and applying puts it right", async (t) => {
  const server = cluster.url("garbage");
  const store = await openStore(server);
  t.after(() => store.close());
  const applied = await natto(["apply", "-f", EXAMPLE], { server });
  assert.equal(applied.code, 0, applied.stderr);
  const before = (await store.list({ kind: "NatGateway" })).items;
  const { resourceVersion } = await store.list({ kind: "NatGateway" });
  const web = "/garbage/NatGateway/team-a/web";
  await cluster.etcdctl("put", "/garbage/NatGateway/team-a/broken", "{no json");
  await cluster.etcdctl("put", web, '{"kind":"Cell"}');
  await cluster.etcdctl("put", "/garbage/NatGateway/team-a/empty", "null");
  await store.create(gateway("team-z", "last"));

  const { items, damaged } = await store.list({ kind: "NatGateway" });
  assert.equal(items.length, before.length);
  assert.deepEqual(damaged.map(({ key, reason }) => [key.name, reason]).toSorted(), [
    ["broken", "found {no json, which is not JSON"],
    ["empty", "found null, expected an object"],
    ["web", "it has no metadata"],
  ]);
  for await (const event of store.watch({ kind: "NatGateway" }, resourceVersion, t.signal)) {
    if (event.type === "BOOKMARK") continue;
    assert.equal(event.object.metadata.name, "last");
    break;
  }
  const listed = await natto(["get", "gw", "-A", "-o", "name"], { server });
  assert.match(listed.stdout, /team-z\/last/);
  assert.match(
    listed.stderr,
    /NatGateway\/team-a\/broken is no object: found \{no json, .*; apply the object again/,
  );
  const got = await natto(["get", "gw/team-a/web"], { server });
  assert.equal(got.code, 9);

  const again = await natto(["apply", "-f", EXAMPLE], { server });
  assert.equal(again.code, 0, again.stderr);
  for (const name of ["broken", "empty"]) {
    const deleted = await natto(["delete", "gw", name, "-n", "team-a"], { server });
    assert.equal(deleted.code, 0, deleted.stderr);
  }
  const after = await store.list({ kind: "NatGateway" });
  assert.deepEqual(after.damaged, []);
  assert.equal(after.items.length, before.length + 1);
});

test("a command whose etcd is not there ends with the address, the remedy and its own exit code", async () => {
  const { code, stderr } = await natto(["get", "gw"], { server: "etcd://127.0.0.1:1" });
  assert.equal(code, 7);
  assert.match(stderr, /^natto: cannot reach etcd member 127\.0\.0\.1:1: .*; check that etcd runs there/);
});
