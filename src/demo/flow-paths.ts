/** Which node the fabric chooses for a flow in each direction, by asking the routers' own ECMP; and who owns the flow's slot. */
import { NattoError } from "../errors.ts";
import type { Lab } from "../lab/lab.ts";
import { address } from "../model/ipv4.ts";
import type { Placement } from "../model/placement.ts";
import { inboundSlot } from "../model/slots.ts";

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export interface FlowEnds {
  readonly protocol: "udp" | "tcp";
  /** The endpoint's host in the lab; its router's interface has the same name. */
  readonly host: string;
  readonly inside: Endpoint;
  readonly public: Endpoint;
  /** The outside host in the lab. */
  readonly remoteHost: string;
  readonly remote: Endpoint;
}

/** Node names. */
export interface FlowPath {
  readonly owner: string;
  /** Where the fabric brings the packets from inside, and those from outside. Another node than the owner has to steer. */
  readonly outbound: string;
  readonly inbound: string;
}

/** Parses `address:port`. */
export function parseEndpoint(text: string): Endpoint {
  const [host, port] = text.split(":");
  return { address: host!, port: Number(port) };
}

/** The owner of a public address and port by the placements; throws when nobody owns it. */
export function ownerOf(placements: readonly Placement[], { address: text, port }: Endpoint): string {
  for (const { spec } of placements) {
    const placed = spec.addresses.find((a) => a.address === text);
    const slot = inboundSlot(port, spec.portsPerSlot);
    const owner = placed && slot !== undefined ? spec.nodes[placed.owners[slot] ?? -1] : undefined;
    if (owner !== undefined) return owner;
  }
  throw new NattoError("NotFound", `no placement has an owner for ${text}:${port}`);
}

interface Query {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly interface: string;
  readonly protocol: string;
}

/** Asks a router for the first hop of each flow: the name of the interface, which is the next host's. */
async function nextHops(lab: Lab, router: string, queries: readonly Query[]): Promise<readonly string[]> {
  if (queries.length === 0) return [];
  const commands = queries.map(
    ({ from, to, interface: iif, protocol }) =>
      `route get ${to.address} from ${from.address} iif ${iif} ipproto ${protocol} sport ${from.port} dport ${to.port}`,
  );
  const { stdout, stderr, code } = await lab.exec(router, ["ip", "-batch", "-"], {
    input: commands.join("\n"),
  });
  const hops = [...stdout.matchAll(/ dev (\S+)/g)].map((match) => match[1]!);
  if (code !== 0 || hops.length !== queries.length) {
    throw new NattoError("Internal", `${router} does not say where it sends flows: ${stderr.trim()}`);
  }
  return hops;
}

/** The paths of flows through the fabric as it is now. */
export async function flowPaths(
  lab: Lab,
  placements: readonly Placement[],
  flows: readonly FlowEnds[],
): Promise<readonly FlowPath[]> {
  const outbound = await nextHops(
    lab,
    "fabric-in",
    flows.map((f) => ({ from: f.inside, to: f.remote, interface: f.host, protocol: f.protocol })),
  );
  const inbound = await nextHops(
    lab,
    "fabric-out",
    flows.map((f) => ({ from: f.remote, to: f.public, interface: f.remoteHost, protocol: f.protocol })),
  );
  return flows.map((flow, i) => ({
    owner: ownerOf(placements, flow.public),
    outbound: outbound[i]!,
    inbound: inbound[i]!,
  }));
}

/** What a node's loss means to a flow: it is the node's own, or it crosses the node on its way to its owner, or neither. */
export type Involvement = "own" | "crosses" | "elsewhere";

export function involvement(path: FlowPath, node: string): Involvement {
  if (path.owner === node) return "own";
  return path.outbound === node || path.inbound === node ? "crosses" : "elsewhere";
}

/** The first address of a host's interface in the lab, without its prefix length. */
export function hostAddress(lab: Lab, host: string): string {
  const text = lab
    .host(host)
    .interfaces.find((i) => i.network === "fabric")
    ?.address?.split("/")[0];
  if (text === undefined) throw new NattoError("Internal", `host ${host} has no address on the fabric`);
  address(text);
  return text;
}
