/** The command line, a controller and a server straight on a real cluster of etcd. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { pino } from "pino";
import { EXAMPLE, exitOf, lineWith, natto, startNatto } from "../cli/fixtures.ts";
import { startController } from "../controller/controller.ts";
import { openStaticMembership } from "../membership/static-membership.ts";
import { node, slotTable, tally } from "../planner/fixtures.ts";
import { until } from "./fixtures.ts";
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

test("natto server serves what is in etcd, and a watch through it follows", async (t) => {
  const etcd = cluster.url("served");
  const child = startNatto(t, ["server", "--store", etcd, "--listen", "127.0.0.1:0"]);
  const { url } = JSON.parse(await lineWith(child.stderr!, '"msg":"ready"')) as { readonly url: string };
  const remote = await openStore(url);
  t.after(() => remote.close());
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

test("a command whose etcd is not there ends with the address, the remedy and its own exit code", async () => {
  const { code, stderr } = await natto(["get", "gw"], { server: "etcd://127.0.0.1:1" });
  assert.equal(code, 7);
  assert.match(stderr, /^natto: cannot reach etcd member 127\.0\.0\.1:1: .*; check that etcd runs there/);
});
