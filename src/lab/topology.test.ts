import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NattoError } from "../errors.ts";
import { address } from "../model/ipv4.ts";
import { natCloud } from "./clouds.ts";
import { CLUSTER_HOSTS } from "./clusters.ts";
import { type LabInput, parseLab } from "./lab-file.ts";
import { expandLab, hostPart, managedAddress, shareSubnet, type Topology } from "./topology.ts";

function lab(spec: LabInput["spec"]): Topology {
  return expandLab(
    parseLab({ apiVersion: "natto.dev/v1alpha1", kind: "Lab", metadata: { name: "x" }, spec }),
  );
}

function faultsOf(spec: LabInput["spec"]): readonly string[] {
  try {
    lab(spec);
  } catch (thrown) {
    assert(thrown instanceof NattoError && thrown.code === "Invalid");
    return thrown.details.map((d) => `${d.field}: ${d.message}`);
  }
  return [];
}

test("A group becomes numbered hosts with addresses of its blocks, each linked to its router.", () => {
  const topology = lab({
    hosts: [{ name: "r", role: "router" }],
    groups: [
      {
        prefix: "n",
        count: 2,
        role: "node",
        addresses: "10.254.0.0/24",
        links: [{ interface: "in", to: "r", subnet: "10.1.0.0/24", announce: true }],
        routes: [{ to: "default", via: ["in"] }],
      },
    ],
  });
  assert.deepEqual(
    topology.hosts.map((host) => [host.name, host.namespace, host.index, host.addresses]),
    [
      ["r", "natto-x-r", 0, []],
      ["n1", "natto-x-n1", 1, ["10.254.0.1"]],
      ["n2", "natto-x-n2", 2, ["10.254.0.2"]],
    ],
  );
  const [router, , second] = topology.hosts;
  assert.equal(second?.interfaces[0]?.address, "10.1.0.3/31");
  assert.deepEqual(second?.interfaces[0]?.peer, { host: "r", interface: "n2", address: "10.1.0.2/31" });
  assert.deepEqual(second?.routes, [{ to: "default", hops: [{ interface: "in", gateway: "10.1.0.2" }] }]);
  assert.deepEqual(router?.routes, [
    { to: "10.254.0.1/32", hops: [{ interface: "n1", gateway: "10.1.0.1" }] },
    { to: "10.254.0.2/32", hops: [{ interface: "n2", gateway: "10.1.0.3" }] },
  ]);
});

test("A pattern as next hop stands for every fabric interface that it matches.", () => {
  const topology = expandLab(parseLab(natCloud({ name: "x", nodes: 3, endpoints: 2, run: "traffic" })));
  const router = topology.hosts.find((host) => host.name === "fabric-in");
  assert.deepEqual(
    router?.routes.find((route) => route.to === "default")?.hops.map((hop) => hop.interface),
    ["node1", "node2", "node3"],
  );
});

test("Routers discard what is meant for the management network.", () => {
  const topology = expandLab(parseLab(natCloud({ name: "x", run: "traffic" })));
  for (const router of topology.hosts.filter((host) => host.role === "router")) {
    assert.deepEqual(router.routes.find((route) => route.to === "172.31.0.0/24")?.hops, []);
  }
});

test("What refers to nothing, stands twice or does not fit is reported, all of it at once.", () => {
  const faults = faultsOf({
    hosts: [
      { name: "a", role: "endpoint", routes: [{ to: "default", via: ["eth7"] }] },
      { name: "a", role: "endpoint" },
    ],
    links: [{ a: { host: "a", interface: "eth0" }, b: { host: "nobody", interface: "eth0" } }],
    groups: [
      {
        prefix: "ep",
        count: 200,
        role: "endpoint",
        links: [{ interface: "eth0", to: "a", subnet: "10.0.0.0/28", gateway: "10.0.0.1" }],
      },
    ],
  });
  assert.deepEqual(faults, [
    "spec.hosts[1].name: there is another host a",
    "spec.links[0].b.host: there is no host nobody",
    "spec.groups[0].links[0].subnet: 10.0.0.0/28 has fewer than 211 addresses",
    "spec.hosts[0].routes: a cannot reach eth7, a next hop toward default",
  ]);
});

test("An interface's name may be too long or used twice only in a lab that is refused.", () => {
  const end = { host: "a", interface: "eth0" };
  const hosts = [
    { name: "a", role: "endpoint" },
    { name: "long-name-of-a-host", role: "endpoint" },
  ] as const;
  assert.match(
    faultsOf({ hosts: [...hosts], links: [{ a: end, b: end }] })[0] ?? "",
    /a has another interface eth0/,
  );
  const long = { prefix: "long-prefix-of-host", count: 1, role: "endpoint", links: [] } as const;
  const links = [{ interface: "eth0", to: "a", subnet: "10.0.0.0/24" }];
  assert.match(
    faultsOf({ hosts: [...hosts], groups: [{ ...long, links }] })[0] ?? "",
    /more than 15 characters/,
  );
});

test("Control hosts have the first management addresses, nodes later ones; only nodes of an isolated network are kept apart.", () => {
  const expand = (control: "single" | "clusters") =>
    expandLab(parseLab(natCloud({ name: "x", nodes: 1, endpoints: 1, control })));
  const managed = expand("clusters").hosts.flatMap((host) => {
    const own = managedAddress(host);
    return own === undefined ? [] : [`${host.name} ${own}`];
  });
  assert.deepEqual(managed, [
    ...CLUSTER_HOSTS.map(({ name, address }) => `${name} ${address}`),
    "control 172.31.0.1",
    "node1 172.31.0.11",
  ]);
  const isolated = (topology: ReturnType<typeof expand>) =>
    topology.hosts.flatMap((host) => host.interfaces.filter((i) => i.isolated).map((i) => i.name));
  assert.deepEqual(isolated(expand("clusters")), []);
  assert(isolated(expand("single")).includes("node1"));
});

test("More control hosts than there are management addresses for are refused.", () => {
  const hosts = Array.from({ length: 11 }, (_, i) => ({ name: `c${i}`, role: "control" as const }));
  const [fault] = faultsOf({ hosts, management: { host: "c0", subnet: "172.31.0.0/24" } });
  assert.match(fault ?? "", /10 control hosts beside c0, and addresses for 9/);
});

test("In clouds of any size no two interfaces of the fabric have the same address, except gateways, and every link has two ends that agree.", () => {
  const size = fc.record({
    nodes: fc.integer({ min: 1, max: 40 }),
    endpoints: fc.integer({ min: 1, max: 60 }),
    outsideHosts: fc.integer({ min: 1, max: 5 }),
  });
  fc.assert(
    fc.property(size, (counts) => {
      const topology = expandLab(parseLab(natCloud({ name: "x", run: "traffic", ...counts })));
      const interfaces = topology.hosts.flatMap((host) =>
        host.interfaces.map((i) => ({ host: host.name, ...i })),
      );
      const own = interfaces.flatMap((i) => (i.address === undefined ? [] : [hostPart(i.address)]));
      const gateways = ["10.0.0.1", "198.51.100.1"];
      const unique = own.filter((a) => !gateways.includes(a));
      assert.equal(new Set(unique.map(address)).size, unique.length);
      for (const i of interfaces) {
        const far = interfaces.find((other) => other.host === i.peer.host && other.name === i.peer.interface);
        assert.equal(far?.link, i.link);
        assert.equal(far?.mtu, i.mtu);
        assert.equal(far?.peer.address, i.address);
      }
    }),
    { numRuns: 25 },
  );
});

test("Two ends share a subnet when their prefixes agree, and a /32 has none to share.", () => {
  assert.equal(shareSubnet("10.0.0.0/31", "10.0.0.1/31"), true);
  assert.equal(shareSubnet("10.0.0.1/31", "10.0.0.2/31"), false);
  assert.equal(shareSubnet("10.0.0.1/32", "10.0.0.1/32"), false);
  assert.equal(shareSubnet("200.0.0.1/24", "200.0.0.200/24"), true);
});
