/**
 * What to tell the kernel so that a topology comes to be: input of `ip -batch` and of one shell per host. Pure.
 *
 * Three rules of the kernel stand behind what is done here:
 * - XDP redirects into a veth only when its peer polls (NAPI), which `gro on` at the peer brings about. It must be turned on when the peer is
 *   up: before that, a veth that is already up never learns that it may be redirected into, and whatever is redirected into it is lost.
 * - A local socket leaves the checksum of its packets to the device, and veth leaves it undone. A program that rewrites ports would
 *   corrupt them, so no device of the fabric offers to compute checksums or to segment (`tx off tso off gso off`).
 * - A route is given up with its device. So routes come after all devices, and again after a cut.
 */
import type { HostRole } from "./lab-file.ts";
import {
  hostPart,
  type LabHost,
  type LabInterface,
  type LabRoute,
  MANAGEMENT_INTERFACE,
  shareSubnet,
  type Topology,
} from "./topology.ts";

const FORWARDING = { "net.ipv4.ip_forward": "1" };

/** Settings of a host by role; for all of its interfaces where the name has a `*`. */
const ROLE_SYSCTLS: Readonly<Record<HostRole, Readonly<Record<string, string>>>> = {
  router: {
    ...FORWARDING,
    "net.ipv4.fib_multipath_hash_policy": "1",
    "net.ipv4.conf.*.rp_filter": "0",
    "net.ipv4.conf.*.ignore_routes_with_linkdown": "1",
  },
  node: { ...FORWARDING, "net.ipv4.conf.*.rp_filter": "0" },
  endpoint: {},
  server: {},
  control: { "net.ipv4.ip_forward": "0" },
};

/** Input of `ip -batch` that makes the namespaces. */
export function namespaceBatch(topology: Topology): string {
  return lines(topology.hosts.map((host) => `netns add ${host.namespace}`));
}

/** Input of `ip -batch` that makes the links between the namespaces, all of them down. */
export function linkBatch(topology: Topology): string {
  const namespaces = new Map(topology.hosts.map((host) => [host.name, host.namespace]));
  const made = new Set<string>();
  const batch: string[] = [];
  for (const host of topology.hosts) {
    for (const { name, link, mtu, peer } of host.interfaces) {
      if (made.has(link)) continue;
      made.add(link);
      const far = `name ${peer.interface} mtu ${mtu} netns ${namespaces.get(peer.host)}`;
      batch.push(`link add name ${name} mtu ${mtu} netns ${host.namespace} type veth peer ${far}`);
    }
  }
  return lines(batch);
}

/** A shell script, to be run in the host's namespace, that sets up everything but the routes. */
export function hostScript(host: LabHost, roles: ReadonlyMap<string, HostRole>): string {
  const sysctls = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    ...ROLE_SYSCTLS[host.role],
    ...host.sysctls,
    // What comes in by the management network is for the node itself, never to be passed on.
    ...(host.role === "node" && host.interfaces.some((i) => i.network === "management")
      ? { [`net.ipv4.conf.${MANAGEMENT_INTERFACE}.forwarding`]: "0" }
      : {}),
  };
  return lines([
    "set -e",
    ...Object.entries(sysctls).map(([key, value]) => writeSysctl(key, value)),
    "ip -batch - <<'END'",
    "link set lo up",
    ...host.addresses.map((own) => `addr add ${own}/32 dev lo`),
    ...(host.bridgeAddress === undefined
      ? []
      : [
          `link add ${MANAGEMENT_INTERFACE} type bridge`,
          `addr add ${host.bridgeAddress} dev ${MANAGEMENT_INTERFACE}`,
          `link set ${MANAGEMENT_INTERFACE} up`,
        ]),
    ...host.interfaces.flatMap((i) => bringUp(i)),
    "END",
    ...host.interfaces.map((i) => setOffloads(i, roles.get(i.peer.host) === "node")),
  ]);
}

/** The value goes to every file that a `*` stands for. */
function writeSysctl(key: string, value: string): string {
  const path = `/proc/sys/${key.replaceAll(".", "/")}`;
  return `for f in ${path}; do echo '${value}' > "$f"; done`;
}

function setOffloads(i: LabInterface, facesNode: boolean): string {
  return `ethtool -K ${i.name} ${facesNode ? "gro on " : ""}tx off tso off gso off > /dev/null`;
}

function bringUp(i: LabInterface): string[] {
  const up = `link set ${i.name} up`;
  if (i.address === undefined) {
    if (i.network !== "management") return [up];
    // Isolated ports reach the bridge and the other ports, but not each other.
    const isolation = i.isolated ? [`link set dev ${i.name} type bridge_slave isolated on`] : [];
    return [`link set ${i.name} master ${MANAGEMENT_INTERFACE}`, ...isolation, up];
  }
  const peer = i.peer.address;
  if (peer === undefined || shareSubnet(i.address, peer)) return [`addr add ${i.address} dev ${i.name}`, up];
  return [`addr add ${hostPart(i.address)} peer ${hostPart(peer)}/32 dev ${i.name}`, up];
}

/**
 * Input of `ip -batch`, to be run in the host's namespace, that sets the host's routes as they are when the links in `cut` are down;
 * only those by one of `interfaces` if these are given. Routes none of whose next hops is left are not mentioned.
 */
export function routeBatch(
  host: LabHost,
  cut: ReadonlySet<string> = new Set(),
  interfaces?: ReadonlySet<string>,
): string {
  const down = new Set(host.interfaces.filter((i) => cut.has(i.link)).map((i) => i.name));
  return lines(
    host.routes
      .filter((route) => !interfaces || route.hops.some((hop) => interfaces.has(hop.interface)))
      .flatMap((route) => replaceRoute(route, down)),
  );
}

function replaceRoute(route: LabRoute, down: ReadonlySet<string>): string[] {
  if (route.hops.length === 0) return [`route replace blackhole ${route.to}`];
  const hops = route.hops.filter((hop) => !down.has(hop.interface));
  const [only] = hops;
  if (!only) return [];
  if (hops.length === 1) return [`route replace ${route.to} via ${only.gateway} dev ${only.interface}`];
  const nextHops = hops.map((hop) => `nexthop via ${hop.gateway} dev ${hop.interface}`);
  return [`route replace ${route.to} ${nextHops.join(" ")}`];
}

function lines(items: readonly string[]): string {
  return items.map((item) => `${item}\n`).join("");
}
