/** What is declared changes while traffic flows: those whom the change does not concern lose nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { configsApplied, gatewayReady, listObjects, natto } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { ProbeReport } from "../../src/demo/power-off.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { httpRequests } from "../../src/lab/traffic/traffic.ts";
import type { Placement } from "../../src/model/placement.ts";
import { outboundSlotOf } from "../../src/model/slots.ts";
import {
  assertNothingLost,
  counterGrows,
  counters,
  gatewayYaml,
  hostsOf,
  leavesNothing,
  nothingFor,
  PATIENCE_MS,
  placementOf,
  SERVER,
  until,
  useCloud,
  whileProbing,
} from "./fixture.ts";

/** `ep1` to `ep5`, and `ep6` to `ep9`. */
const WEB_SOURCES = "10.0.0.0/28";
const BATCH_SOURCES = "10.0.0.16/28";
const WEB = ["ep1", "ep2", "ep3", "ep4", "ep5"];
const BATCH = ["ep6", "ep7", "ep8", "ep9"];

const cloud = useCloud("change", {
  endpoints: WEB.length + BATCH.length,
  gateways: [{ name: "web", yaml: gatewayYaml("web", WEB_SOURCES) }],
});

async function apply(lab: Lab, yaml: string): Promise<string> {
  return natto(lab, ["apply", "-f", "-"], yaml);
}

/** Waits until a gateway is as it is declared, on all nodes. */
async function inForce(lab: Lab, gateway: string): Promise<void> {
  await gatewayReady(lab, gateway, PATIENCE_MS);
  await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
}

/** Where an endpoint's flows belong: public address, slot and owner. */
function homeOf(lab: Lab, host: string, { spec }: Placement): string {
  const addresses = spec.addresses.map((placed) => placed.address);
  const { addressIndex, slot } = outboundSlotOf(hostAddress(lab, host), addresses, spec.portsPerSlot);
  const owner = spec.nodes[spec.addresses[addressIndex]?.owners[slot] ?? -1];
  return `${addresses[addressIndex]}/${slot} on ${owner}`;
}

/** The UDP flows and new flows of some endpoints. */
function reportOf(report: ProbeReport, hosts: readonly string[]): ProbeReport {
  return {
    flows: report.flows.filter((flow) => hosts.includes(flow.host)),
    tcp: [],
    fresh: new Map([...report.fresh].filter(([host]) => hosts.includes(host))),
    freshGaps: report.freshGaps,
  };
}

/** How an endpoint is seen outside; undefined when it gets no answer. */
async function seenAs(lab: Lab, host: string): Promise<string | undefined> {
  const url = `http://${hostAddress(lab, SERVER)}/whoami`;
  const [result] = await httpRequests(lab, host, { urls: [url], timeoutMs: 2000 });
  return result?.outside?.split(":")[0];
}

/** The different addresses under which endpoints are seen. */
async function allSeenAs(lab: Lab, hosts: readonly string[]): Promise<readonly (string | undefined)[]> {
  return [...new Set(await Promise.all(hosts.map((host) => seenAs(lab, host))))];
}

test("A second public address: endpoints whose slot stays what it was lose nothing, and the new address is used.", async () => {
  const lab = cloud();
  const before = await placementOf(lab, "web");
  const report = await whileProbing(lab, { endpoints: WEB, tcp: 0, fresh: 0 }, async () => {
    await apply(lab, gatewayYaml("web", WEB_SOURCES, 2));
    await inForce(lab, "web");
    await nothingFor(1);
  });
  const after = await placementOf(lab, "web");
  assert.equal(after.spec.addresses.length, 2);
  const stayed = WEB.filter((host) => homeOf(lab, host, before) === homeOf(lab, host, after));
  const moved = WEB.filter((host) => !stayed.includes(host));
  assert(stayed.length > 0 && moved.length > 0, `some stay and some move: ${stayed} | ${moved}`);
  assertNothingLost(reportOf(report, stayed));
  for (const host of WEB) {
    assert.equal(await seenAs(lab, host), homeOf(lab, host, after).split("/")[0], host);
  }
});

test("A second gateway for other sources: the first one's flows lose nothing, and its endpoints get their own address.", async () => {
  const lab = cloud();
  assert.deepEqual(await allSeenAs(lab, BATCH), [undefined], "they have no gateway yet");
  const report = await whileProbing(lab, { endpoints: WEB }, async () => {
    await apply(lab, gatewayYaml("batch", BATCH_SOURCES));
    await inForce(lab, "batch");
    await nothingFor(1);
  });
  assertNothingLost(report);
  const addresses = (await placementOf(lab, "batch")).spec.addresses.map((placed) => placed.address);
  const others = (await placementOf(lab, "web")).spec.addresses.map((placed) => placed.address);
  assert.equal(addresses.length, 1);
  assert(!others.includes(addresses[0] ?? ""));
  assert.deepEqual(await allSeenAs(lab, BATCH), addresses);
});

test("Shorter timeouts: flows in use lose nothing, and those that fall silent end.", async () => {
  const lab = cloud();
  const before = await counters(lab);
  const report = await whileProbing(lab, { endpoints: BATCH }, async () => {
    await apply(lab, gatewayYaml("batch", BATCH_SOURCES, 1, "  timeouts: {udp: 2, tcpTransitory: 2}\n"));
    await inForce(lab, "batch");
    // Longer than a silent flow now lives, with the sweep.
    await nothingFor(5);
  });
  assertNothingLost(report);
  // The defaults are minutes.
  await counterGrows(lab, before, "sessions_expired", report.flows.length);
});

test("A gateway that is deleted: the other's flows lose nothing, its endpoints are translated no more, its address is free.", async () => {
  const lab = cloud();
  const [address] = (await placementOf(lab, "batch")).spec.addresses.map((placed) => placed.address);
  assert(address);
  const report = await whileProbing(lab, { endpoints: WEB }, async () => {
    await natto(lab, ["delete", "gateway", "batch", "-n", "team-a"]);
    await until("the pool has the address back", async () => {
      const { stdout } = await lab.exec("control", ["natto", "whois", address]);
      const [pool] = await listObjects(lab, "AddressPool");
      return stdout === "" && pool?.status?.allocated === 2;
    });
    await configsApplied(lab, hostsOf(lab, "node"), PATIENCE_MS);
    await nothingFor(1);
  });
  assertNothingLost(report);
  assert.deepEqual(await allSeenAs(lab, BATCH), [undefined]);
  const { code, stderr } = await lab.exec("control", ["natto", "whois", address]);
  assert.equal(code, 4);
  assert.match(stderr, /is a free address of the pool public/);

  await apply(lab, gatewayYaml("next", BATCH_SOURCES));
  await inForce(lab, "next");
  const [placed] = (await placementOf(lab, "next")).spec.addresses;
  assert.equal(placed?.address, address, "the address may be taken by another gateway");
  assert.equal(await seenAs(lab, BATCH[0] ?? ""), address);
});

leavesNothing(cloud);
