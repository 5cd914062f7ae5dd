/**
 * Source ports by which a connection takes a wanted way. Which node the fabric hands a packet to depends on all of its ports, and the outside
 * port follows from the source port (port preservation within the slot), so the way can be known beforehand.
 */
import { NattoError } from "../errors.ts";
import type { Lab } from "../lab/lab.ts";
import type { Placement } from "../model/placement.ts";
import { FIRST_PORT, outboundSlotOf, slotPorts } from "../model/slots.ts";
import { type FlowEnds, type FlowPath, flowPaths, hostAddress } from "./flow-paths.ts";

/** Direct: the fabric brings both directions to the owner. Steered: it brings both to another node. */
export type Way = "direct" | "steered";
export const WAYS: readonly Way[] = ["direct", "steered"];

export interface PortChoice {
  readonly host: string;
  readonly way: Way;
  readonly localPort: number;
}

/** One source port in nine is direct with three nodes, so an endpoint has one of each kind with all but certainty. */
const FIRST_CANDIDATE = 20_000;
const CANDIDATES = 128;

export function wayOf({ owner, outbound, inbound }: FlowPath): Way | undefined {
  if (outbound === owner && inbound === owner) return "direct";
  return outbound !== owner && inbound !== owner ? "steered" : undefined;
}

/** Source ports of an endpoint, with the ways that they will take if their preferred outside ports are free. */
async function candidates(
  lab: Lab,
  placement: Placement,
  host: string,
  server: string,
  first: number,
): Promise<readonly (readonly [FlowEnds, FlowPath])[]> {
  const { portsPerSlot, addresses } = placement.spec;
  const inside = hostAddress(lab, host);
  const publics = addresses.map((placed) => placed.address);
  const { addressIndex, slot } = outboundSlotOf(inside, publics, portsPerSlot);
  const range = slotPorts(slot, portsPerSlot);
  const ends = Array.from({ length: CANDIDATES }, (_, i): FlowEnds => {
    const port = first + i;
    return {
      protocol: "tcp",
      host,
      inside: { address: inside, port },
      public: { address: publics[addressIndex]!, port: range.first + ((port - FIRST_PORT) % portsPerSlot) },
      remoteHost: server,
      remote: { address: hostAddress(lab, server), port: 80 },
    };
  });
  const paths = await flowPaths(lab, [placement], ends);
  return ends.map((flow, i) => [flow, paths[i]!] as const);
}

/**
 * For each endpoint a source port of each way to the web server, among the `CANDIDATES` from `first` on. Who chooses again chooses among others:
 * outside ports rest after use, of other endpoints of the slot too.
 */
export async function choosePorts(
  lab: Lab,
  placement: Placement,
  hosts: readonly string[],
  server: string,
  first = FIRST_CANDIDATE,
): Promise<readonly PortChoice[]> {
  const choices: PortChoice[] = [];
  // Two endpoints of one slot that wanted the same outside port at a time would get others, and go other ways.
  const taken = new Set<string>();
  const publicOf = ({ public: { address, port } }: FlowEnds) => `${address}:${port}`;
  for (const host of hosts) {
    const found = await candidates(lab, placement, host, server, first);
    for (const way of WAYS) {
      const chosen = found.find(([flow, path]) => wayOf(path) === way && !taken.has(publicOf(flow)));
      if (!chosen) throw new NattoError("NotFound", `${host} has no ${way} source port among ${CANDIDATES}`);
      taken.add(publicOf(chosen[0]));
      choices.push({ host, way, localPort: chosen[0].inside.port });
    }
  }
  return choices;
}
