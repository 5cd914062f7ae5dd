/**
 * What would become of a packet: the reference model of the dataplane, run on the configurations that the nodes have, from node to node, with a
 * sentence for each step. Routes are not known here: every destination is taken to be reachable. Pure.
 */

import type { Outcome } from "../dataplane/model/outcome.ts";
import { addRecord } from "../dataplane/model/records.ts";
import { buildSketch, echo, tcp, udp } from "../dataplane/model/sketch.ts";
import {
  type AddressPort,
  EMPTY_STATE,
  type Gateway,
  gatewayOfSource,
  type ModelConfig,
  modelConfig,
  NOTHING_SEEN,
  type Owner,
  type Protocol,
  placeOfSlot,
  portsIn,
  type SlotName,
  type State,
  slotOfPublic,
  slotOfSource,
} from "../dataplane/model/state.ts";
import { step } from "../dataplane/model/step.ts";
import { ECHO_REPLY, ECHO_REQUEST, parsePacket, TCP_FLAG } from "../dataplane/packet.ts";
import { NattoError } from "../errors.ts";
import { address, formatAddress } from "../model/ipv4.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { FABRIC_NETWORK, slotPorts } from "../model/slots.ts";
import { COUNTER_WORDS } from "./counter-words.ts";
import type { ReportedSession } from "./session-report.ts";

export interface TracedPacket {
  readonly protocol: Protocol;
  readonly from: AddressPort;
  readonly to: AddressPort;
  /** Of TCP; see `TCP_FLAG`. */
  readonly flags: number;
}

export interface TraceStep {
  readonly node: string;
  readonly what: string;
}

export interface Trace {
  readonly direction: "outbound" | "inbound";
  readonly steps: readonly TraceStep[];
  /** How it ends. */
  readonly result: "forwarded" | "dropped" | "not-ours";
  /** The packet's ends as it leaves, where it does. */
  readonly leaves: { readonly from: AddressPort; readonly to: AddressPort } | undefined;
}

/** A packet goes from the first node to the owner, and while a slot moves to one or two more. */
const MAX_HOPS = 6;

export type FlagName = keyof typeof TCP_FLAG;

/** Reads the names of TCP flags, such as `syn,ack`. Throws `BadRequest`. */
export function parseFlags(text: string): number {
  return text.split(",").reduce((flags, word) => {
    const flag = Object.entries(TCP_FLAG).find(([name]) => name === word.trim().toLowerCase());
    if (flag) return flags | flag[1];
    const known = Object.keys(TCP_FLAG).join(", ");
    throw new NattoError("BadRequest", `"${word}" is no TCP flag; use ${known}, with commas between them`);
  }, 0);
}

interface Stop {
  readonly name: string;
  readonly config: ModelConfig;
  readonly state: State;
  readonly spec: NodeConfig["spec"];
}

/**
 * Traces a packet that comes to node `at` first, or to the first node that it means something to. `live` are sessions by node. Throws `NotFound` when
 * there is no such node.
 */
export function trace(
  packet: TracedPacket,
  configs: readonly NodeConfig[],
  at: string | undefined,
  live: ReadonlyMap<string, readonly ReportedSession[]> = new Map(),
): Trace {
  const stops = configs.map((config) => stopOf(config, live.get(config.metadata.name) ?? []));
  const first = at === undefined ? (stops.find((s) => isOurs(s, packet)) ?? stops[0]) : byName(stops, at);
  if (!first)
    throw new NattoError("NotFound", "no node has a configuration; see whether the controller runs");
  const inbound = first.config.addresses.has(packet.to.address);
  const direction = inbound ? "inbound" : "outbound";
  const role = inbound ? "outside" : "inside";
  const steps: TraceStep[] = explain(first, packet, inbound).map((what) => ({ node: first.name, what }));
  let frame = frameOf(packet, inbound);
  let here: Stop | undefined = first;
  for (let hop = 0; here && hop < MAX_HOPS; hop++) {
    const { name, config, state } = here;
    const outcome = step(config, state, { frame, role, now: 0, route: everywhere });
    const to = nextStop(outcome, stops);
    for (const counter of outcome.counters) {
      const where = COUNTER_WORDS[counter] + (counter.startsWith("steered") && to ? ` (${to.name})` : "");
      steps.push({ node: name, what: where });
    }
    if (outcome.counters.length === 0) {
      steps.push({ node: name, what: "not Natto's: left to the kernel as it is" });
      return { direction, steps, result: "not-ours", leaves: undefined };
    }
    if (!to) {
      const leaves = outcome.counters.some((c) => c.startsWith("translated")) ? endsOf(outcome) : undefined;
      return { direction, steps, result: leaves ? "forwarded" : "dropped", leaves };
    }
    frame = outcome.packet ?? frame;
    here = to;
  }
  return { direction, steps, result: "dropped", leaves: undefined };
}

function byName(stops: readonly Stop[], name: string): Stop {
  const found = stops.find((stop) => stop.name === name);
  if (found) return found;
  const known = stops.map((stop) => stop.name).join(", ") || "none";
  throw new NattoError("NotFound", `no node ${name} has a configuration; those that have one: ${known}`);
}

function stopOf({ metadata, spec }: NodeConfig, live: readonly ReportedSession[]): Stop {
  const { name } = metadata;
  const config = modelConfig(spec, name, Number.MAX_SAFE_INTEGER);
  return { name, config, spec, state: live.reduce((state, s) => withSession(config, state, s), EMPTY_STATE) };
}

/** A live session as the model holds it. What it has shown is not known in full: it counts as established. */
function withSession(config: ModelConfig, state: State, session: ReportedSession): State {
  const end = (of: { readonly address: string; readonly port: number }): AddressPort => ({
    address: address(of.address),
    port: of.port,
  });
  const outside = end(session.public);
  const gateway = config.addresses.get(outside.address);
  const slot = gateway && slotOfPublic(gateway, outside);
  if (!slot) return state;
  const seen = { ...NOTHING_SEEN, syn: session.protocol === "tcp", at: 0 };
  return addRecord(state, {
    kind: "session",
    network: FABRIC_NETWORK,
    protocol: session.protocol,
    inside: end(session.inside),
    public: outside,
    remote: end(session.remote),
    slot,
    parent: undefined,
    counted: false,
    outbound: seen,
    inbound: seen,
  });
}

function isOurs({ config }: Stop, { from, to }: TracedPacket): boolean {
  return config.addresses.has(to.address) || gatewayOfSource(config, from.address) !== undefined;
}

function everywhere() {
  const mac = "02:00:00:00:00:00";
  return { kind: "found", ifindex: 1, sourceMac: mac, destinationMac: mac, mtu: 65_535 } as const;
}

function frameOf({ protocol, from, to, flags }: TracedPacket, inbound: boolean): Buffer {
  const ports = { sourcePort: from.port, destinationPort: to.port };
  const type = inbound ? ECHO_REPLY : ECHO_REQUEST;
  const transports = {
    tcp: () => tcp({ ...ports, flags }),
    udp: () => udp(ports),
    icmp: () => echo({ identifier: inbound ? to.port : from.port, type }),
  };
  return buildSketch({
    ip: { source: from.address, destination: to.address },
    transport: transports[protocol](),
  });
}

/** Where a wrapped packet goes: the node with the outer destination. */
function nextStop({ packet, counters }: Outcome, stops: readonly Stop[]): Stop | undefined {
  const wrapped = counters.some((c) => c === "steered_out" || c === "steered_in" || c === "passed_on");
  const parsed = wrapped && packet ? parsePacket(packet) : undefined;
  if (!parsed?.ok) return undefined;
  const { destination } = parsed.packet.ip;
  return stops.find(({ config }) => config.address === destination);
}

function endsOf({ packet }: Outcome): Trace["leaves"] {
  const parsed = packet && parsePacket(packet);
  if (!parsed?.ok) return undefined;
  const { ip, transport } = parsed.packet;
  const ports = { from: 0, to: 0 };
  if (transport.kind === "tcp" || transport.kind === "udp") {
    ports.from = transport.sourcePort;
    ports.to = transport.destinationPort;
  } else if (transport.kind === "icmp") {
    ports[transport.type === ECHO_REQUEST ? "from" : "to"] = transport.identifier;
  }
  return {
    from: { address: ip.source, port: ports.from },
    to: { address: ip.destination, port: ports.to },
  };
}

/** Whose packet it is, and where its slot lies, as any node computes it. */
function explain({ config, spec }: Stop, packet: TracedPacket, inbound: boolean): string[] {
  const gateway = inbound
    ? config.addresses.get(packet.to.address)
    : gatewayOfSource(config, packet.from.address);
  const { address: at } = inbound ? packet.to : packet.from;
  if (!gateway) {
    return inbound
      ? [`${formatAddress(at)} has static mappings alone`]
      : [`${formatAddress(at)} is in no gateway's sources`];
  }
  const declared = spec.gateways.find(({ uid }) => uid === gateway.id);
  const name = `${declared?.namespace ?? ""}/${declared?.name ?? ""}`;
  const slot = inbound
    ? slotOfPublic(gateway, packet.to)
    : slotOfSource(gateway, FABRIC_NETWORK, packet.from);
  const whose = `${formatAddress(at)} ${inbound ? "is an address" : "is in the sources"} of gateway ${name}`;
  if (!slot) return [whose, inbound ? "the port is in no slot" : "the gateway has no public address for it"];
  return [whose, slotSentence(gateway, slot, packet, inbound), ownerSentence(config, spec, slot)];
}

function slotSentence(gateway: Gateway, slot: SlotName, { from }: TracedPacket, inbound: boolean): string {
  const { first, last } =
    (inbound ? undefined : portsIn(gateway, slot, FABRIC_NETWORK, from)) ??
    slotPorts(slot.number, slot.portsPerSlot);
  const { allocation } = gateway;
  const byFlow = allocation.method === "Hashed" && allocation.spread === "Flow";
  const outbound = byFlow ? "by its address and source port" : "by its address";
  const how = allocation.method === "Deterministic" ? "by its position in the sources" : outbound;
  const why = inbound ? "by arithmetic on the port" : how;
  return `slot ${slot.number} of ${formatAddress(slot.address)}, ports ${first}-${last}, ${why}`;
}

function ownerSentence(config: ModelConfig, spec: NodeConfig["spec"], slot: SlotName): string {
  const nameOf = (owner: Owner | undefined): string => {
    if (owner?.kind === "self") return "this node";
    if (owner?.kind !== "peer") return "nobody";
    const text = formatAddress(owner.address);
    return spec.peers.find((peer) => peer.address === text)?.name ?? text;
  };
  const place = placeOfSlot(config, slot);
  return `owned by ${nameOf(place?.owner)}, next in line: ${nameOf(place?.backup)}`;
}
