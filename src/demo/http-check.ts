/** Real HTTP through the cloud: every endpoint fetches bodies, which must arrive as they were sent. */
import { NattoError } from "../errors.ts";
import type { Lab } from "../lab/lab.ts";
import type { HttpResult } from "../lab/traffic/http-client.ts";
import { httpRequests } from "../lab/traffic/traffic.ts";
import { address } from "../model/ipv4.ts";
import type { Placement } from "../model/placement.ts";
import { FABRIC_NETWORK, inboundSlot, outboundSlot } from "../model/slots.ts";
import { listObjects } from "./cloud.ts";
import {
  type Endpoint,
  type FlowEnds,
  type FlowPath,
  flowPaths,
  hostAddress,
  parseEndpoint,
} from "./flow-paths.ts";
import type { PortChoice, Way } from "./port-choice.ts";

export interface Download {
  readonly host: string;
  /** As the server saw it. */
  readonly outside: Endpoint;
  readonly bytes: number;
  readonly intact: boolean;
  /** Whether the public address and port lie in the slot that the slot functions name for the endpoint. */
  readonly inOwnSlot: boolean;
  readonly path: FlowPath;
  readonly milliseconds: number;
}

export interface TransferOptions {
  readonly server: string;
  /** Of each body. */
  readonly bytes: number;
  /** Posts the body instead of getting it. */
  readonly upload?: boolean;
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

/** One transfer by each of the chosen ports, all at once; the paths are those of the fabric as it is. */
export async function transferAll(
  lab: Lab,
  choices: readonly PortChoice[],
  { server, bytes, upload = false }: TransferOptions,
): Promise<readonly (Download & { readonly way: Way })[]> {
  const url = `http://${hostAddress(lab, server)}/${upload ? "upload" : `bytes/${bytes}`}`;
  const responses = await Promise.all(
    choices.map(async ({ host, localPort }) => {
      const options = { urls: [url], localPort, timeoutMs: 60_000, ...(upload ? { upload: bytes } : {}) };
      const [result] = await httpRequests(lab, host, options);
      return { host, result: result! };
    }),
  );
  const judged = await judgeTransfers(lab, server, responses);
  return judged.map((download, i) => ({ ...download, way: choices[i]!.way }));
}

/** What came of requests to the HTTP port of a server, each with its path through the fabric as it is. */
async function judgeTransfers(
  lab: Lab,
  server: string,
  responses: readonly { readonly host: string; readonly result: HttpResult }[],
): Promise<readonly Download[]> {
  const remote = { address: hostAddress(lab, server), port: 80 };
  const placements = await listObjects(lab, "Placement");
  const ends = responses.map(({ host, result }): FlowEnds => {
    if (result.localPort === undefined || result.outside === undefined) {
      throw new NattoError("Unavailable", `${host} got no answer from ${result.url}: ${result.error}`);
    }
    return {
      protocol: "tcp",
      host,
      inside: { address: hostAddress(lab, host), port: result.localPort },
      public: parseEndpoint(result.outside),
      remoteHost: server,
      remote,
    };
  });
  const paths = await flowPaths(lab, placements, ends);
  return responses.map(({ host, result }, i) => ({
    host,
    outside: ends[i]!.public,
    bytes: result.bytes,
    intact: result.intact === true,
    inOwnSlot: liesInOwnSlot(placements, ends[i]!),
    path: paths[i]!,
    milliseconds: result.milliseconds,
  }));
}
