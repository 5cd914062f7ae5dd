/**
 * A cloud on real clusters loses them: the majority of etcd, all of Consul, both. Nobody behind it notices, a node that is booted meanwhile works, and
 * what was declared before is there after.
 *
 * Each outage lasts as long as the cell's patience several times over, or `NATTO_OUTAGE_SECONDS` (a minute in `make test-clusters`).
 */
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { configsApplied, gatewayReady, listObjects, natto } from "../../src/demo/cloud.ts";
import { CLUSTER_HOSTS } from "../../src/lab/clusters.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { readProcesses } from "../../src/lab/run-folder.ts";
import {
  assertNothingLost,
  gatewayYaml,
  hostsOf,
  killHard,
  LONG_STORY_GATEWAYS,
  leavesNothing,
  loseStore,
  nodeFolders,
  nothingFor,
  PATIENCE_MS,
  placementOf,
  regainStore,
  restart,
  run,
  slotOwners,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

const SECONDS = Number(process.env.NATTO_OUTAGE_SECONDS ?? 8);
const BOOTED = "node2";

const cloud = useCloud("outages", { endpoints: 6, control: "clusters", gateways: LONG_STORY_GATEWAYS });

/** Every host that runs an agent or a server of Consul. */
async function consulHosts(lab: Lab): Promise<readonly string[]> {
  const records = await readProcesses(lab.folder);
  return records.filter(({ name }) => name === "consul").map(({ host }) => host);
}

async function loseConsul(lab: Lab): Promise<void> {
  for (const host of await consulHosts(lab)) await killHard(lab, host, "consul");
}

/** Brings Consul back, and waits until the controller follows it and knows all nodes. */
async function regainConsul(lab: Lab): Promise<void> {
  for (const host of await consulHosts(lab)) await restart(lab, host, "consul");
  await cellSays(lab, "MembershipFollowed", "True");
  await until("all nodes are alive to the controller", async () => {
    const [cell] = await listObjects(lab, "Cell");
    return cell?.status?.readyNodes === hostsOf(lab, "node").length;
  });
}

function cellSays(lab: Lab, type: string, status: "True" | "False"): Promise<void> {
  return until(`the cell's condition ${type} is ${status}`, async () => {
    const [cell] = await listObjects(lab, "Cell");
    return cell?.status?.conditions.some((c) => c.type === type && c.status === status) ?? false;
  });
}

/** What people declared, without what the system says about it. */
async function declared(lab: Lab): Promise<unknown> {
  const objects = [await listObjects(lab, "NatGateway"), await listObjects(lab, "AddressPool")].flat();
  return objects.map(({ kind, metadata: { name, uid, generation }, spec }) => ({
    kind,
    name,
    uid,
    generation,
    spec,
  }));
}

/** A node loses its power and boots: nothing of Natto is in its kernel any more, and its disk is as it was. */
async function reboot(lab: Lab, node: string): Promise<void> {
  await lab.cutLinks(node);
  await killHard(lab, node, "agent");
  const { pins } = nodeFolders(lab, node);
  // What ends in .debug is the file system's own.
  const own = (await readdir(pins)).filter((pin) => !pin.endsWith(".debug"));
  for (const pin of own) await rm(join(pins, pin), { recursive: true });
  for (const device of ["inside", "outside"])
    await run(lab, node, "ip", "link", "set", "dev", device, "xdp", "off");
  await run(lab, node, "nft", "flush", "ruleset");
  const agent = await restart(lab, node, "agent");
  await until(`${node} is programmed from its snapshot`, async () => {
    const log = await agent.stderr();
    return /starts from its snapshot/.test(log) && /NodeConfig generation \d+ .* is applied/.test(log);
  });
  await lab.restoreLinks(node);
}

test("etcd loses its majority: no packet is lost, and what was declared is there when it is back.", async () => {
  const lab = cloud();
  const [objects, owners] = [await declared(lab), slotOwners(await placementOf(lab, "web"))];
  const report = await whileProbing(lab, {}, async () => {
    await loseStore(lab);
    assert.equal(
      (
        await lab.exec("control", ["natto", "apply", "-f", "-"], {
          input: gatewayYaml("late", "10.0.7.0/24"),
        })
      ).code,
      7,
    );
    await nothingFor(SECONDS);
    await regainStore(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
  assert.deepEqual(await declared(lab), objects);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), owners);
});

test("All of Consul is gone: no packet is lost, no slot moves, the cell tells, and what is declared meanwhile is obeyed.", async () => {
  const lab = cloud();
  const owners = slotOwners(await placementOf(lab, "web"));
  const report = await whileProbing(lab, {}, async () => {
    await loseConsul(lab);
    await cellSays(lab, "MembershipFollowed", "False");
    await nothingFor(SECONDS);
    await natto(lab, ["apply", "-f", "-"], gatewayYaml("meanwhile", "10.0.8.0/24"));
    await gatewayReady(lab, "meanwhile", PATIENCE_MS);
    assert.deepEqual(slotOwners(await placementOf(lab, "web")), owners);
    await regainConsul(lab);
    await nothingFor(2);
  });
  assertNothingLost(report);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), owners);
});

test("Both are gone and a node boots: it comes up from its snapshot and carries traffic, and all is as declared when they are back.", async () => {
  const lab = cloud();
  const [objects, owners] = [await declared(lab), slotOwners(await placementOf(lab, "web"))];
  const placements = await listObjects(lab, "Placement");
  const quiet = await whileProbing(lab, {}, async () => {
    await loseStore(lab);
    await loseConsul(lab);
    await nothingFor(SECONDS);
  });
  assertNothingLost(quiet);

  await reboot(lab, BOOTED);
  await until("the peers use the node again", async () => {
    const probe = await whileProbing(lab, { placements, flows: 1, tcp: 0 }, () => nothingFor(0.5));
    return probe.flows.some(({ path }) => path.owner === BOOTED);
  });
  const report = await whileProbing(lab, { placements }, () => nothingFor(SECONDS));
  assertNothingLost(report);
  const carried = report.flows.filter(({ path }) => path.owner === BOOTED);
  assert(
    carried.length > 0 && carried.every(({ report: r }) => r.answered > 0),
    "the booted node owns flows",
  );

  await regainStore(lab);
  await regainConsul(lab);
  assert.deepEqual(await declared(lab), objects);
  assert.deepEqual(slotOwners(await placementOf(lab, "web")), owners);
  await natto(lab, ["apply", "-f", "-"], gatewayYaml("after", "10.0.9.0/24"));
  await gatewayReady(lab, "after", PATIENCE_MS);
  await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
});

test("A host with a member of etcd and a server of Consul dies, and nobody notices.", async () => {
  const lab = cloud();
  const [first] = CLUSTER_HOSTS;
  const report = await whileProbing(lab, {}, async () => {
    for (const process of ["etcd", "consul"]) await killHard(lab, first.name, process);
    await natto(lab, ["apply", "-f", "-"], gatewayYaml("minority", "10.0.10.0/24"));
    await gatewayReady(lab, "minority", PATIENCE_MS);
    await cellSays(lab, "MembershipFollowed", "True");
    for (const process of ["etcd", "consul"]) await restart(lab, first.name, process);
  });
  assertNothingLost(report);
});

leavesNothing(cloud);
