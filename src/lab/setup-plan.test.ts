import assert from "node:assert/strict";
import { test } from "node:test";
import { natCloud } from "./clouds.ts";
import { parseLab } from "./lab-file.ts";
import { hostScript, linkBatch, routeBatch } from "./setup-plan.ts";
import { expandLab } from "./topology.ts";

const topology = expandLab(parseLab(natCloud({ name: "x", nodes: 2, endpoints: 1, run: "traffic" })));
const roles = new Map(topology.hosts.map((host) => [host.name, host.role]));

function host(name: string) {
  const found = topology.hosts.find((h) => h.name === name);
  assert(found);
  return found;
}

test("Every link is made once, with the same MTU at both ends.", () => {
  const lines = linkBatch(topology).trim().split("\n");
  assert.equal(lines.length, 2 + 2 + 2 + 1 + 1);
  assert(
    lines.includes(
      "link add name node1 mtu 1600 netns natto-x-fabric-in type veth peer name inside mtu 1600 netns natto-x-node1",
    ),
  );
});

test("Devices that face a node poll, and none of the fabric leaves checksums or segments to others.", () => {
  const script = hostScript(host("fabric-in"), roles);
  assert.match(script, /ethtool -K node1 gro on tx off tso off gso off/);
  assert.match(script, /ethtool -K ep1 tx off tso off gso off/);
});

test("A device polls only after it is up, because else a peer that was up before may never be redirected into.", () => {
  const script = hostScript(host("fabric-in"), roles);
  assert(script.indexOf("link set node1 up") >= 0);
  assert(script.indexOf("link set node1 up") < script.indexOf("ethtool -K node1 gro on"));
});

test("Ends that share no subnet know each other as peers.", () => {
  assert.match(hostScript(host("ep1"), roles), /addr add 10\.0\.0\.11 peer 10\.0\.0\.1\/32 dev eth0/);
  assert.match(hostScript(host("node1"), roles), /addr add 10\.253\.0\.1\/31 dev inside/);
});

test("Routes leave out next hops by links that are cut, and with none left they are not set.", () => {
  const router = host("fabric-out");
  const links = router.interfaces.filter((i) => i.name.startsWith("node")).map((i) => i.link);
  const routes = (cut: readonly string[]) => routeBatch(router, new Set(cut)).split("\n")[0];
  assert.equal(
    routes([]),
    "route replace 203.0.113.0/24 nexthop via 10.253.2.1 dev node1 nexthop via 10.253.2.3 dev node2",
  );
  assert.equal(routes(links.slice(0, 1)), "route replace 203.0.113.0/24 via 10.253.2.3 dev node2");
  assert.equal(routes(links), "route replace blackhole 172.31.0.0/24");
});
