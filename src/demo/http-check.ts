/** Real HTTP through the cloud: every endpoint fetches bodies, which must arrive as they were sent. */
import type { Lab } from "../lab/lab.ts";
import { httpRequests } from "../lab/traffic/traffic.ts";
import { address } from "../model/ipv4.ts";
import type { Placement } from "../model/placement.ts";
import { FABRIC_NETWORK, inboundSlot, outboundSlot } from "../model/slots.ts";
import { listObjects } from "./cloud.ts";
import { type FlowEnds, type FlowPath, flowPaths, hostAddress, parseEndpoint } from "./flow-paths.ts";

export interface Download {
  readonly host: string;
  readonly bytes: number;
  readonly intact: boolean;
  /** Whether the public address and port lie in the slot that the slot functions name for the endpoint. */
  readonly inOwnSlot: boolean;
  readonly path: FlowPath;
  readonly milliseconds: number;
}

export interface DownloadOptions {
  readonly endpoints: readonly string[];
  readonly server: string;
  /** Of each body. */
  readonly bytes: number;
  /** Bodies that each endpoint fetches, over connections of their own. */
  readonly count: number;
}

function liesInOwnSlot(placements: readonly Placement[], ends: FlowEnds): boolean {
  return placements.some(({ spec }) => {
    const addresses = spec.addresses.map((placed) => address(placed.address));
    const { addressIndex, slot } = outboundSlot(
      FABRIC_NETWORK,
      address(ends.inside.address),
      addresses,
      spec.portsPerSlot,
    );
    return (
      addresses[addressIndex] === address(ends.public.address) &&
      inboundSlot(ends.public.port, spec.portsPerSlot) === slot
    );
  });
}

/** Every endpoint at once; the paths are those of the fabric as it is. */
export async function downloadAll(lab: Lab, options: DownloadOptions): Promise<readonly Download[]> {
  const { endpoints, server, bytes, count } = options;
  const remote = { address: hostAddress(lab, server), port: 80 };
  const url = `http://${remote.address}/bytes/${bytes}`;
  const responses = await Promise.all(
    endpoints.map(async (host) =>
      (await httpRequests(lab, host, { urls: [url], count })).map((response) => ({ host, response })),
    ),
  );
  const placements = await listObjects(lab, "Placement");
  const all = responses.flat();
  const ends = all.map(
    ({ host, response }): FlowEnds => ({
      protocol: "tcp",
      host,
      inside: { address: hostAddress(lab, host), port: response.localPort ?? 0 },
      public: parseEndpoint(response.outside ?? ":0"),
      remoteHost: server,
      remote,
    }),
  );
  const paths = await flowPaths(lab, placements, ends);
  return all.map(({ host, response }, i) => ({
    host,
    bytes: response.bytes,
    intact: response.intact === true,
    inOwnSlot: liesInOwnSlot(placements, ends[i]!),
    path: paths[i]!,
    milliseconds: response.milliseconds,
  }));
}

/** Whether a node other than the owner had to steer the packets of one of the directions. */
export function wasSteered({ owner, outbound, inbound }: FlowPath): boolean {
  return outbound !== owner || inbound !== owner;
}
