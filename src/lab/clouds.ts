/** Clouds that many tests and the demo need, as labs. Add to or change what these functions return to get another one. */
import { routerBird } from "./bgp.ts";
import { CLUSTER_MEMBERSHIP_URL, CLUSTER_STORE_URL, clusterHosts, consulAgentProcess } from "./clusters.ts";
import type { LabInput } from "./lab-file.ts";

export interface NatCloudOptions {
  readonly name: string;
  /** Default 3, 12 and 1. */
  readonly nodes?: number;
  readonly endpoints?: number;
  readonly outsideHosts?: number;
  /** Blocks that the outside router spreads over the nodes. Default 203.0.113.0/24. */
  readonly publicPrefixes?: readonly string[];
  /**
   * - `natto` (default): a server with the controller in `control`, an agent on each node, a traffic server on each outside host.
   * - `traffic`: the fabric and the traffic servers alone.
   */
  readonly run?: "natto" | "traffic";
  /**
   * How the routers know the way to the nodes.
   * - `static` (default): by routes that stand from the beginning, over all nodes.
   * - `bgp`: by what the nodes announce, once a cell with `CELL_ROUTING` is declared; watched by BFD.
   */
  readonly routing?: "static" | "bgp";
  /**
   * Where what is declared is kept, and who knows who is alive.
   * - `single` (default): the server's embedded store, and heartbeats in it.
   * - `clusters`: etcd and Consul on three hosts `store1` to `store3`, an agent of Consul on every node and in `control`. Agents use both
   *   directly; the server in `control` is for people.
   */
  readonly control?: "single" | "clusters";
  /** Largest IP packet between routers and nodes. Default 1600: room for the 50 bytes of VXLAN around 1500. */
  readonly fabricMtu?: number;
  /** Gives the outside router routes to the endpoints, as if no NAT were needed: to test the fabric itself. */
  readonly plainForwarding?: boolean;
}

export const NAT_CLOUD = {
  /** `ep1` is 10.0.0.11, `ep2` 10.0.0.12, …; the gateway is 10.0.0.1. */
  endpointSubnet: "10.0.0.0/16",
  /** `server1` is 198.51.100.11, …. */
  outsideSubnet: "198.51.100.0/24",
  /** `node1` is 10.254.0.1, …. */
  nodeAddresses: "10.254.0.0/24",
  managementSubnet: "172.31.0.0/24",
  /** `natto server` for programs in `control` and on nodes. */
  apiUrl: "http://172.31.0.1:7474",
} as const;

const INSIDE_CABLES = "10.253.0.0/23";
const OUTSIDE_CABLES = "10.253.2.0/23";

/**
 * The cloud that Natto is for: endpoints behind `fabric-in`, the outside behind `fabric-out`, nodes between the two, ECMP toward the nodes
 * on both sides, and `control` beside it all.
 */
export function natCloud(options: NatCloudOptions): LabInput {
  const {
    name,
    nodes = 3,
    endpoints = 12,
    outsideHosts = 1,
    plainForwarding = false,
    run = "natto",
    fabricMtu = 1600,
    routing = "static",
    control = "single",
  } = options;
  const clusters = control === "clusters";
  const bgp = routing === "bgp";
  const publicPrefixes = options.publicPrefixes ?? ["203.0.113.0/24"];
  const returning = plainForwarding ? [...publicPrefixes, NAT_CLOUD.endpointSubnet] : publicPrefixes;
  return {
    apiVersion: "natto.dev/v1alpha1",
    kind: "Lab",
    metadata: { name },
    spec: {
      hosts: [
        ...(clusters ? clusterHosts() : []),
        { name: "control", role: "control", processes: run === "natto" ? controlProcesses(clusters) : [] },
        ...(bgp ? bgpRouters(publicPrefixes) : staticRouters(returning)),
      ],
      groups: [
        nodeGroup(nodes, run === "natto" ? nodeProcesses(clusters) : [], fabricMtu, !bgp),
        {
          prefix: "ep",
          count: endpoints,
          role: "endpoint",
          links: [
            { interface: "eth0", to: "fabric-in", subnet: NAT_CLOUD.endpointSubnet, gateway: "10.0.0.1" },
          ],
          routes: [{ to: "default", via: ["eth0"] }],
        },
        {
          prefix: "server",
          count: outsideHosts,
          role: "server",
          links: [
            { interface: "eth0", to: "fabric-out", subnet: NAT_CLOUD.outsideSubnet, gateway: "198.51.100.1" },
          ],
          routes: [{ to: "default", via: ["eth0"] }],
          processes: [echoProcess()],
        },
      ],
      management: { host: "control", subnet: NAT_CLOUD.managementSubnet, isolated: !clusters },
    },
  };
}

type HostInput = NonNullable<LabInput["spec"]["hosts"]>[number];

/** Without it, what is meant for a dead node would go around among the others by the default route. */
const NO_WAY_AROUND = { to: "10.0.0.0/8" };

/** `returning` are the blocks that the outside router spreads over the nodes. */
function staticRouters(returning: readonly string[]): HostInput[] {
  const routes = [{ to: "default", via: ["node*"] }, NO_WAY_AROUND];
  return [
    { name: "fabric-in", role: "router", routes },
    { name: "fabric-out", role: "router", routes: returning.map((to) => ({ to, via: ["node*"] })) },
  ];
}

function bgpRouters(publicPrefixes: readonly string[]): HostInput[] {
  const inside = routerBird(INSIDE_CABLES, ["0.0.0.0/0", `${NAT_CLOUD.nodeAddresses}{32,32}`]);
  const accepted = publicPrefixes.map((prefix) => `${prefix}+`);
  return [
    { name: "fabric-in", role: "router", routes: [NO_WAY_AROUND], processes: [inside] },
    { name: "fabric-out", role: "router", processes: [routerBird(OUTSIDE_CABLES, accepted)] },
  ];
}

type GroupInput = NonNullable<LabInput["spec"]["groups"]>[number];
type ProcessInput = NonNullable<GroupInput["processes"]>[number];

function nodeGroup(count: number, processes: ProcessInput[], mtu: number, announce: boolean): GroupInput {
  return {
    prefix: "node",
    count,
    role: "node",
    addresses: NAT_CLOUD.nodeAddresses,
    links: [
      { interface: "inside", to: "fabric-in", subnet: INSIDE_CABLES, mtu, announce },
      { interface: "outside", to: "fabric-out", subnet: OUTSIDE_CABLES, mtu },
    ],
    routes: [
      { to: "10.0.0.0/8", via: ["inside"] },
      { to: "default", via: ["outside"] },
    ],
    processes,
  };
}

function controlProcesses(clusters: boolean): ProcessInput[] {
  return clusters
    ? [consulAgentProcess(), serverProcess(CLUSTER_STORE_URL, ["--membership", CLUSTER_MEMBERSHIP_URL])]
    : [serverProcess("file:$(STATE)/natto.db", [])];
}

function nodeProcesses(clusters: boolean): ProcessInput[] {
  return clusters
    ? [consulAgentProcess(), agentProcess(CLUSTER_STORE_URL, ["--membership", CLUSTER_MEMBERSHIP_URL])]
    : [agentProcess("http://$(MANAGEMENT):7474", [])];
}

function serverProcess(store: string, more: readonly string[]): ProcessInput {
  return {
    name: "server",
    command: ["natto", "server", "--store", store, "--listen", "0.0.0.0:7474", "--controller", ...more],
    ready: { tcp: 7474 },
  };
}

function agentProcess(store: string, more: readonly string[]): ProcessInput {
  const place = ["--node", "$(HOST)", "--cell", "main", "--address", "$(ADDRESS)"];
  const interfaces = ["--inside", "inside", "--outside", "outside"];
  const folders = ["--pin-folder", "$(BPF)", "--state-folder", "$(STATE)", "--max-sessions", "65536"];
  const observe = ["--observe-listen", "0.0.0.0:7476"];
  return {
    name: "agent",
    command: ["natto", "agent", "--store", store, ...place, ...interfaces, ...folders, ...observe, ...more],
  };
}

function echoProcess(): ProcessInput {
  return {
    name: "echo",
    command: ["node", "$(TRAFFIC)/echo-server.ts"],
    ready: { udp: 7007, tcp: 80 },
  };
}
