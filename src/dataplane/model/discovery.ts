/** Finds out how a NAT maps and filters by asking it, as RFC 5780 does: for tests of the model and of the program. */
import type { Dependence } from "../../model/nat-behaviour.ts";
import { TCP_FLAG } from "../packet.ts";
import { datagram, type Ends, OTHER_REMOTE, PORTS_PER_SLOT, PUBLIC, REMOTE, segment } from "./example.ts";
import type { Role } from "./state.ts";

/** Gives a frame to a NAT; resolves to what leaves on the other side, or undefined when nothing does. */
export type Exchange = (frame: Buffer, role: Role) => Buffer | undefined;

const PORT_AT = 34;

/**
 * Which part of the remote the public port of one inside port depends on. A rival that likes the same public port goes before, so that it is no
 * matter of luck whether a port is free toward two remotes.
 */
export function discoverMapping(exchange: Exchange, protocol: "udp" | "tcp"): Dependence {
  const portToward = (ends: Ends): number | undefined => {
    return exchange(packet(protocol, { sourcePort: 5001, ...ends }), "inside")?.readUInt16BE(PORT_AT);
  };
  const remotes: readonly Ends[] = [{ destinationPort: 444 }, { to: OTHER_REMOTE }];
  for (const ends of remotes) portToward({ ...ends, sourcePort: 5001 + PORTS_PER_SLOT });
  const first = portToward({});
  const [otherPort, otherAddress] = remotes.map((ends) => portToward(ends));
  if (first === otherAddress) return "EndpointIndependent";
  return first === otherPort ? "AddressDependent" : "AddressAndPortDependent";
}

/** Which part of the remote an unsolicited packet must share with one that the endpoint has sent to. */
export function discoverFiltering(exchange: Exchange, protocol: "udp" | "tcp"): Dependence {
  const destinationPort = exchange(packet(protocol, {}), "inside")!.readUInt16BE(PORT_AT);
  const comesIn = (from: number): boolean => {
    const ends = { from, sourcePort: 9999, to: PUBLIC, destinationPort };
    return exchange(packet(protocol, ends), "outside") !== undefined;
  };
  if (comesIn(OTHER_REMOTE)) return "EndpointIndependent";
  return comesIn(REMOTE) ? "AddressDependent" : "AddressAndPortDependent";
}

function packet(protocol: "udp" | "tcp", ends: Ends): Buffer {
  return protocol === "udp" ? datagram(ends) : segment(TCP_FLAG.syn, ends);
}
