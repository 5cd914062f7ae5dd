/**
 * Static mappings: floating addresses and port forwards (docs/dataplane.md, "Static mappings"). Which address stands for which is written
 * down, so there is no state and no owner: whichever node gets such a packet translates it.
 */
import { address } from "../../model/ipv4.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { FABRIC_NETWORK } from "../../model/slots.ts";
import { forwardedPorts } from "../../model/static-mappings.ts";
import { ICMP_ERRORS, type Ipv4View, PROTOCOL } from "../packet.ts";
import type { Classified, Quoted } from "./classify.ts";
import type { AddressPort, Direction, DropCounter, Protocol } from "./state.ts";
import { translate, translateAddress, translateError } from "./translate.ts";

/** What an address becomes. */
export interface StaticMapping {
  readonly address: number;
  /** Undefined: it stays as it is, as does the protocol; a floating address has them all. */
  readonly port: number | undefined;
}

/** By `forwardKey` or `floatKey`. */
export type StaticMappings = ReadonlyMap<string, StaticMapping>;

/** Inbound there is no network: public addresses are everybody's. */
const networkOf = (direction: Direction) => (direction === "outbound" ? FABRIC_NETWORK : 0);

/** The key of all that is an address's own. */
export function floatKey(direction: Direction, own: number): string {
  return `${direction} ${networkOf(direction)}/${own}`;
}

function forwardKey(direction: Direction, protocol: Protocol, own: AddressPort): string {
  return `${direction} ${networkOf(direction)}/${protocol}/${own.address}:${own.port}`;
}

/** Both directions of all mappings of a configuration. */
export function staticMappings(spec: NodeConfig["spec"]): StaticMappings {
  const mappings = new Map<string, StaticMapping>();
  for (const { address: outside, inside } of spec.floatingAddresses ?? []) {
    mappings.set(floatKey("inbound", address(outside)), { address: address(inside), port: undefined });
    mappings.set(floatKey("outbound", address(inside)), { address: address(outside), port: undefined });
  }
  for (const forward of spec.portForwards ?? []) {
    const [outside, inside] = [address(forward.address), address(forward.inside)];
    for (const { publicPort, insidePort } of forwardedPorts(forward)) {
      const [far, near] = [
        { address: outside, port: publicPort },
        { address: inside, port: insidePort },
      ];
      mappings.set(forwardKey("inbound", forward.protocol, far), near);
      mappings.set(forwardKey("outbound", forward.protocol, near), far);
    }
  }
  return mappings;
}

/** Whether a public port is a forward's, and so not to be allocated. */
export function isForwarded(mappings: StaticMappings, protocol: Protocol, outside: AddressPort): boolean {
  return mappings.has(forwardKey("inbound", protocol, outside));
}

/**
 * The mapping of a packet: a forward's before a floating address's. `endpoint` is whose packet it is when it is outbound: its source, or whom
 * an error complains about.
 */
export function findStatic(
  mappings: StaticMappings,
  ip: Ipv4View,
  direction: Direction,
  classified: Classified,
  endpoint: number,
): StaticMapping | undefined {
  const outbound = direction === "outbound";
  if (classified.ok && classified.tuple.protocol !== "icmp") {
    const { protocol, source, destination } = classified.tuple;
    const forward = mappings.get(forwardKey(direction, protocol, outbound ? source : destination));
    if (forward) return forward;
  }
  return mappings.get(floatKey(direction, outbound ? endpoint : ip.destination));
}

export type StaticallyTranslated =
  | { readonly ok: true; readonly frame: Buffer }
  | { readonly ok: false; readonly drop: DropCounter };

/** The packet as its mapping makes it. `frame` stays as it is. */
export function translateStatic(
  frame: Buffer,
  ip: Ipv4View,
  direction: Direction,
  quoted: Quoted | undefined,
  mapping: StaticMapping,
): StaticallyTranslated {
  const drop = faultOf(frame, ip, quoted);
  if (drop) return { ok: false, drop };
  const outbound = direction === "outbound";
  if (quoted) {
    const port = mapping.port ?? quotedOwnPort(frame, quoted, outbound);
    return {
      ok: true,
      frame: translateError(frame, ip, quoted, direction, { address: mapping.address, port }),
    };
  }
  if (!ip.laterFragment && ip.protocol !== PROTOCOL.icmp) {
    const port = mapping.port ?? frame.readUInt16BE(ip.payloadAt + (outbound ? 0 : 2));
    return { ok: true, frame: translate(frame, ip, direction, { address: mapping.address, port }) };
  }
  return { ok: true, frame: translateAddress(frame, direction, mapping.address) };
}

/** Every ICMP message passes, but an error that quotes what cannot be rewritten. */
function faultOf(frame: Buffer, ip: Ipv4View, quoted: Quoted | undefined): DropCounter | undefined {
  const { tcp, udp, icmp } = PROTOCOL;
  if (ip.protocol !== tcp && ip.protocol !== udp && ip.protocol !== icmp) return "drop_unsupported";
  if (ip.laterFragment) return undefined;
  if (ip.payloadBytes < (ip.protocol === tcp ? 20 : 8)) return "drop_malformed";
  if (ip.protocol !== icmp || quoted) return undefined;
  return ICMP_ERRORS.includes(frame.readUInt8(ip.payloadAt)) ? "drop_unsupported" : undefined;
}

/** The port of the mapped side in a quoted packet, or the identifier of an echo. */
function quotedOwnPort(frame: Buffer, { protocol, transportAt }: Quoted, outbound: boolean): number {
  if (protocol === PROTOCOL.icmp) return frame.readUInt16BE(transportAt + 4);
  return frame.readUInt16BE(transportAt + (outbound ? 2 : 0));
}
