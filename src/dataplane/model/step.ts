/**
 * The reference model of the dataplane: what one node does to one packet. It is written to be read next to docs/dataplane.md, whose
 * numbers of steps stand here, and is the oracle for the XDP program. It changes nothing: it returns the next state.
 */
import { type Ipv4View, parseIpv4 } from "../packet.ts";
import { prohibitedFor, resetFor, tooBigFor } from "./answers.ts";
import { type Classified, classify, findQuoted, type Quoted } from "./classify.ts";
import { admittedBy, answeredThrough, coveringMapping } from "./mappings.ts";
import { type Mark, turnOf } from "./moves.ts";
import { clampMss } from "./mss.ts";
import type { Indexed } from "./records.ts";
import { findSession, notePacket, openingOf, openSession } from "./sessions.ts";
import {
  type Counter,
  type Direction,
  type DropCounter,
  type FlowRecord,
  type Gateway,
  gatewayOfSource,
  type ModelConfig,
  placeOfSlot,
  type Role,
  type Session,
  type SlotName,
  type State,
  slotOfPublic,
  slotOfSource,
  type Tuple,
} from "./state.ts";
import { findStatic, floatKey, type StaticMapping, translateStatic } from "./static-mappings.ts";
import { isWrapped, unwrap, WRAP_BYTES, wrap } from "./steer.ts";
import { type Forwarded, forward, type RouteLookup, translate, translateError } from "./translate.ts";

/** A packet that comes to a node. */
export interface Arrival {
  /** From the Ethernet header on. */
  readonly frame: Buffer;
  /** Of the interface it came to. */
  readonly role: Role;
  /** Milliseconds. */
  readonly now: number;
  readonly route: RouteLookup;
}

/** `kernel` is XDP_PASS; `redirect` is XDP_REDIRECT, and so is `return`: back out of the interface that the packet came from. */
export type Verdict =
  | { readonly kind: "drop"; readonly counter: DropCounter }
  | { readonly kind: "kernel" }
  | { readonly kind: "redirect"; readonly ifindex: number }
  | { readonly kind: "return" };

export interface Outcome {
  readonly state: State;
  readonly verdict: Verdict;
  /** The frame as it leaves or goes to the kernel; undefined when it is dropped. */
  readonly packet: Buffer | undefined;
  /** Each grows by one packet. In the order of the steps. */
  readonly counters: readonly Counter[];
}

/** What could be classified. */
type Known = Extract<Classified, { ok: true }>;

/** A packet of which the direction is known. */
interface Directed {
  readonly frame: Buffer;
  readonly ip: Ipv4View;
  readonly direction: Direction;
  readonly mark: Mark;
  readonly now: number;
  readonly route: RouteLookup;
}

/** What a node with this configuration and state does to a packet. */
export function step(config: ModelConfig, state: State, arrival: Arrival): Outcome {
  const { frame, role, now, route } = arrival;
  const parsed = parseIpv4(frame);
  if (!parsed.ok) {
    return parsed.reason === "not-ipv4" ? kernel(state, frame) : drop(state, "drop_malformed"); // 1, 2
  }
  const { ip } = parsed;
  if (isWrapped(config, frame, ip)) return receiveWrapped(config, state, arrival, ip); // 3
  const direction = directionOf(config, role, ip); // 4
  return handle(config, state, { frame, ip, direction, mark: "direct", now, route });
}

function directionOf(config: ModelConfig, role: Role, ip: Ipv4View): Direction {
  if (role === "both") return comesFromOutside(config, ip) ? "inbound" : "outbound";
  return role === "inside" ? "outbound" : "inbound";
}

/** What comes to a public address comes from outside, unless it is from somebody inside: a hairpin. */
function comesFromOutside(config: ModelConfig, ip: Ipv4View): boolean {
  if (!config.addresses.has(ip.destination) || gatewayOfSource(config, ip.source)) return false;
  return !config.staticMappings.has(floatKey("outbound", ip.source));
}

function receiveWrapped(config: ModelConfig, state: State, arrival: Arrival, outer: Ipv4View): Outcome {
  const content = unwrap(config, arrival.frame, outer);
  if (content.kind === "bad") return drop(state, "drop_bad_wrap");
  if (content.kind === "probe") {
    return {
      state,
      verdict: { kind: "return" },
      packet: content.answer,
      counters: ["probes_answered"],
    };
  }
  const { frame, ip, direction, mark } = content;
  const { now, route } = arrival;
  return counted("unwrapped", handle(config, state, { frame, ip, direction, mark, now, route }));
}

/** Steps 5 to 13. An established session is looked for first: it lives on when its source is not enrolled any more. */
function handle(config: ModelConfig, state: State, packet: Directed): Outcome {
  const { frame, ip, direction, mark } = packet;
  const classified = classify(frame, ip, direction);
  const session = classified.ok ? findSession(config, state, classified.tuple, direction) : undefined;
  if (classified.ok && session) {
    if (ip.ttl <= 1) return kernel(state, frame); // 9
    return forwardSession(config, state, packet, session, classified); // 10
  }
  const quoted = findQuoted(frame, ip);
  // Of an error that a router inside sends, the endpoint is the one that the quoted packet went to.
  const endpoint = quoted?.destination ?? ip.source;
  const mapping = findStatic(config.staticMappings, ip, direction, classified, endpoint);
  if (mapping) return forwardStatic(config, state, packet, mapping, quoted);
  const gateway =
    direction === "outbound" ? gatewayOfSource(config, endpoint) : config.addresses.get(ip.destination);
  if (!gateway && !(direction === "inbound" && config.addresses.has(ip.destination))) {
    return mark === "direct" ? kernel(state, frame) : drop(state, "drop_bad_wrap"); // 5
  }
  if (!classified.ok) return drop(state, classified.drop); // 6, 7
  if (ip.ttl <= 1) return kernel(state, frame); // 9
  if (!gateway) return drop(state, "drop_no_session"); // 11
  return handleUnknown(config, state, packet, gateway, classified);
}

/** "Static mappings": no slot, no owner, no session. */
function forwardStatic(
  config: ModelConfig,
  state: State,
  packet: Directed,
  mapping: StaticMapping,
  quoted: Quoted | undefined,
): Outcome {
  const { frame, ip, direction, route } = packet;
  const translated = translateStatic(frame, ip, direction, quoted, mapping);
  if (!translated.ok) return drop(state, translated.drop);
  if (ip.ttl <= 1) return kernel(state, frame);
  if (isHairpin(config, packet)) return turnInward(config, state, packet, translated.frame);
  const outbound = direction === "outbound";
  const sent = forward(translated.frame, ip.totalBytes, route(outbound ? ip.destination : mapping.address));
  if (sent.kind === "too-big") return refuse(config, state, packet, sent.mtu, quoted !== undefined);
  return finish(state, sent, outbound ? "translated_out" : "translated_in");
}

/** Steps 11 to 14: a packet of ours that belongs to no session here. */
function handleUnknown(
  config: ModelConfig,
  state: State,
  packet: Directed,
  gateway: Gateway,
  classified: Known,
): Outcome {
  const { direction, mark } = packet;
  const { tuple, tcpFlags, quoted } = classified;
  if (direction === "inbound" && !slotOfPublic(gateway, tuple.destination)) {
    return drop(state, "drop_no_session"); // 11
  }
  const slot = slotOf(gateway, tuple, direction);
  const place = slot && placeOfSlot(config, slot);
  if (!place) return drop(state, "drop_no_owner"); // 12
  const isMiddle = quoted !== undefined || (tuple.protocol === "tcp" && openingOf(tcpFlags) !== "open");
  const hasMapping = coveringMapping(config, state, gateway.behaviour, tuple) !== undefined;
  const turn = turnOf(config, place, { direction, mark, isMiddle, hasMapping: !isMiddle && hasMapping });
  if (turn.kind === "drop") return drop(state, turn.counter);
  if (turn.kind === "send") return steer(config, state, packet, tuple, { node: turn.to, mark: turn.mark });
  if (quoted) return drop(state, "drop_no_session"); // 13
  return direction === "inbound"
    ? admit(config, state, packet, gateway, classified)
    : begin(config, state, packet, gateway, place.standIn, classified);
}

/** Step 13: what has no session comes in if the filter lets it, and leaves nothing behind: only what the endpoint sends makes a session. */
function admit(
  config: ModelConfig,
  state: State,
  packet: Directed,
  { behaviour }: Gateway,
  { tuple, tcpFlags }: Known,
): Outcome {
  const opens = tuple.protocol !== "tcp" || openingOf(tcpFlags) === "open";
  const covering = opens ? admittedBy(config, state, behaviour, tuple) : undefined;
  return covering ? passThrough(config, state, packet, covering) : drop(state, "drop_no_session");
}

/** Step 14. */
function begin(
  config: ModelConfig,
  state: State,
  packet: Directed,
  { behaviour }: Gateway,
  slot: SlotName | undefined,
  classified: Known,
): Outcome {
  const { tuple, tcpFlags } = classified;
  const opening = tuple.protocol === "tcp" ? openingOf(tcpFlags) : "open";
  if (opening !== "open") {
    const answers = opening === "none" ? undefined : answeredThrough(config, state, behaviour, tuple);
    if (!answers) return failFast(state, packet, behaviour.failFast.tcpReset);
    if (opening === "refuse") return passThrough(config, state, packet, answers);
  }
  const opened = openSession(config, state, behaviour, slot, tuple, opening === "accept", packet.now);
  if (!opened.ok) return refuseFlow(config, state, packet, opened.drop, behaviour.failFast.icmpProhibited);
  const created = counted(
    "sessions_created",
    forwardSession(config, opened.state, packet, opened.session, classified),
  );
  return opened.endedStale ? counted("sessions_expired", created) : created;
}

/** Step 14: the middle of a connection that nobody knows is dropped, and answered with a reset unless it is one itself. */
function failFast(state: State, { frame, ip }: Directed, answering: boolean): Outcome {
  const reset = answering ? resetFor(frame, ip) : undefined;
  return reset ? answered(state, reset, "drop_not_syn", "resets_sent") : drop(state, "drop_not_syn");
}

/** Step 14: a flow that cannot be had is dropped, and its sender told so if the gateway says that. */
function refuseFlow(
  config: ModelConfig,
  state: State,
  { frame, ip }: Directed,
  reason: DropCounter,
  answering: boolean,
): Outcome {
  const answer = answering ? prohibitedFor(frame, ip, config.address) : undefined;
  return answer ? answered(state, answer, reason, "prohibited_sent") : drop(state, reason);
}

function slotOf(gateway: Gateway, tuple: Tuple, direction: Direction): SlotName | undefined {
  return direction === "outbound"
    ? slotOfSource(gateway, tuple.network, tuple.source)
    : slotOfPublic(gateway, tuple.destination);
}

function steer(
  config: ModelConfig,
  state: State,
  packet: Directed,
  tuple: Tuple,
  to: { readonly node: number; readonly mark: Mark },
): Outcome {
  const { frame, ip, direction, route } = packet;
  const wrapped = wrap(config, frame, ip, tuple, direction, to);
  const sent = forward(wrapped, ip.totalBytes + WRAP_BYTES, route(to.node));
  if (sent.kind === "too-big") return refuse(config, state, packet, sent.mtu - WRAP_BYTES, false);
  if (to.mark !== "steered") return finish(state, sent, "passed_on");
  return finish(state, sent, direction === "outbound" ? "steered_out" : "steered_in");
}

/** Steps 15 to 17. */
function forwardSession(
  config: ModelConfig,
  state: State,
  packet: Directed,
  session: Indexed<Session>,
  { tcpFlags, quoted }: Known,
): Outcome {
  const noted = quoted ? state : notePacket(state, session, packet.direction, tcpFlags, packet.now); // 17
  return passThrough(config, noted, packet, session.record, quoted);
}

/** Steps 15 and 16. */
function passThrough(
  config: ModelConfig,
  state: State,
  packet: Directed,
  record: FlowRecord,
  quoted?: Quoted,
): Outcome {
  const { frame, ip, direction, route } = packet;
  const outbound = direction === "outbound";
  const to = outbound ? record.public : record.inside;
  const translated = quoted
    ? translateError(frame, ip, quoted, direction, to)
    : translate(frame, ip, direction, to); // 15
  if (isHairpin(config, packet)) return turnInward(config, state, packet, translated);
  const way = route(outbound ? ip.destination : record.inside.address);
  const clamp = config.gateways.get(record.slot.gateway)?.behaviour.mssClamp;
  const sent = forward(clampMss(translated, ip, clamp, way), ip.totalBytes, way); // 16
  if (sent.kind === "too-big") return refuse(config, state, packet, sent.mtu, quoted !== undefined);
  return finish(state, sent, outbound ? "translated_out" : "translated_in");
}

/** "Hairpins": the destination of an outbound packet is ours too. */
function isHairpin({ addresses }: ModelConfig, { ip, direction }: Directed): boolean {
  return direction === "outbound" && addresses.has(ip.destination);
}

/** Takes up a packet that was translated outward as if it came from outside. */
function turnInward(config: ModelConfig, state: State, { now, route }: Directed, frame: Buffer): Outcome {
  const parsed = parseIpv4(frame);
  if (!parsed.ok) throw new Error("translating broke a packet");
  const inward: Directed = { frame, ip: parsed.ip, direction: "inbound", mark: "direct", now, route };
  return counted("translated_out", counted("hairpinned", handle(config, state, inward)));
}

/** Step 16: what is too big is dropped, and its sender told so if it wants to know. An ICMP error is never answered. */
function refuse(config: ModelConfig, state: State, packet: Directed, mtu: number, isError: boolean): Outcome {
  const { frame, ip, direction } = packet;
  const from = direction === "outbound" ? config.address : ip.destination;
  const answer = isError ? undefined : tooBigFor(frame, ip, from, mtu);
  return answer ? answered(state, answer, "drop_too_big", "too_big_sent") : drop(state, "drop_too_big");
}

function finish(state: State, sent: Exclude<Forwarded, { kind: "too-big" }>, counter: Counter): Outcome {
  switch (sent.kind) {
    case "drop":
      return drop(state, sent.drop);
    case "kernel":
      return counted(counter, kernel(state, sent.packet));
    case "redirect": {
      const { ifindex, packet } = sent;
      return { state, verdict: { kind: "redirect", ifindex }, packet, counters: [counter] };
    }
  }
}

function counted(counter: Counter, outcome: Outcome): Outcome {
  return { ...outcome, counters: [counter, ...outcome.counters] };
}

/** What is dropped, and answered toward where it came from. */
function answered(state: State, answer: Buffer, reason: DropCounter, sent: Counter): Outcome {
  return { state, verdict: { kind: "return" }, packet: answer, counters: [reason, sent] };
}

function kernel(state: State, packet: Buffer): Outcome {
  return { state, verdict: { kind: "kernel" }, packet, counters: [] };
}

function drop(state: State, counter: DropCounter): Outcome {
  return { state, verdict: { kind: "drop", counter }, packet: undefined, counters: [counter] };
}
