/**
 * The reference model of the dataplane: what one node does to one packet. It is written to be read next to docs/dataplane.md, whose
 * numbers of steps stand here, and is the oracle for the XDP program. It changes nothing: it returns the next state.
 */
import { type Ipv4View, parseIpv4, writeMac } from "../packet.ts";
import { prohibitedFor, resetFor } from "./answers.ts";
import { type Classified, classify, findQuoted, type Quoted } from "./classify.ts";
import { noteProbe } from "./contact.ts";
import {
  beginDatagram,
  type Datagram,
  datagramKey,
  type Fate,
  faultOfPart,
  isGoodPart,
  meetingNode,
  passPart,
} from "./fragments.ts";
import { beginRelease, HELD_MAC, hold, labelled, readLabel, releaseNext } from "./held-fragments.ts";
import { admittedBy, answeredThrough, coveringMapping } from "./mappings.ts";
import { turnOf, turnStandingDown, type WrapMark } from "./moves.ts";
import { clampMss } from "./mss.ts";
import { answered, circulate, counted, drop, finish, kept, kernel, type Outcome } from "./outcome.ts";
import type { Indexed } from "./records.ts";
import { type Directed, isHairpin, refuse, steer } from "./sending.ts";
import { findSession, notePacket, openingOf, openSession } from "./sessions.ts";
import {
  type Direction,
  type DropCounter,
  type FlowRecord,
  type Gateway,
  gatewayOfSource,
  type ModelConfig,
  type PairEnd,
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
import { isWrapped, unwrap, withoutPorts } from "./steer.ts";
import { forward, type RouteLookup, translate, translateAddress, translateError } from "./translate.ts";

/** A packet that comes to a node. */
export interface Arrival {
  /** From the Ethernet header on. */
  readonly frame: Buffer;
  /** Of the interface it came to. */
  readonly role: Role | PairEnd;
  /** Milliseconds. */
  readonly now: number;
  readonly route: RouteLookup;
}

/** What could be classified. */
type Known = Extract<Classified, { ok: true }>;

/** What a node with this configuration and state does to a packet. */
export function step(config: ModelConfig, state: State, arrival: Arrival): Outcome {
  const { frame, role, now, route } = arrival;
  if (role === "held") return releaseHeld(state, frame);
  if (role === "again") return takeUpAgain(config, state, arrival);
  const parsed = parseIpv4(frame);
  if (!parsed.ok) {
    return parsed.reason === "not-ipv4" ? kernel(state, frame) : drop(state, "drop_malformed"); // 1, 2
  }
  const { ip } = parsed;
  if (isWrapped(config, frame, ip)) return receiveWrapped(config, state, arrival, ip); // 3
  const direction = directionOf(config, role, ip); // 4
  return takeUp(config, state, { frame, ip, direction, now, route }, "direct");
}

/** One end of Natto's own pair: a frame gives its place to the next one of its datagram that is held, and so on. */
function releaseHeld(state: State, frame: Buffer): Outcome {
  const label = readLabel(frame);
  const parsed = parseIpv4(frame);
  if (!label || !parsed.ok || !parsed.ip.fragment) return kept(state, []);
  const next = releaseNext(state, datagramKey(parsed.ip, label.direction, label.mark));
  return next.frame ? circulate(next.state, next.frame, ["fragments_released"]) : kept(next.state, []);
}

/** The other end: a first fragment, and after it those that were held. */
function takeUpAgain(config: ModelConfig, state: State, { frame, now, route }: Arrival): Outcome {
  const label = readLabel(frame);
  const parsed = parseIpv4(frame);
  if (!label || !parsed.ok || !parsed.ip.fragment) return kept(state, []);
  const own = Buffer.from(frame);
  writeMac(own, 0, HELD_MAC);
  const packet = { frame: own, ip: parsed.ip, direction: label.direction, now, route };
  return handleFragment(config, state, packet, label.mark, true);
}

function takeUp(config: ModelConfig, state: State, packet: Omit<Directed, "mark">, mark: WrapMark): Outcome {
  if (mark === "meeting" || packet.ip.fragment) return handleFragment(config, state, packet, mark);
  return handle(config, state, { ...packet, mark });
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
    const contact = noteProbe(state.contact, outer.source, content.content, arrival.now);
    const noted = { ...state, contact };
    if (contact.standsDown) return drop(noted, "drop_not_owner");
    return {
      state: noted,
      verdict: { kind: "return" },
      packet: content.answer,
      counters: ["probes_answered"],
    };
  }
  const { frame, ip, direction, mark } = content;
  const { now, route } = arrival;
  return counted("unwrapped", takeUp(config, state, { frame, ip, direction, now, route }, mark));
}

/** Steps 5 to 13. An established session is looked for first: it lives on when its source is not enrolled any more. */
function handle(config: ModelConfig, state: State, packet: Directed): Outcome {
  const { frame, ip, direction, mark } = packet;
  const classified = classify(frame, ip, direction);
  const isOwner = !state.contact.standsDown;
  const session =
    classified.ok && isOwner ? findSession(config, state, classified.tuple, direction) : undefined;
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
  if (!classified.ok) return drop(state, classified.drop); // 7
  if (ip.ttl <= 1) return kernel(state, frame); // 9
  if (!gateway) return drop(state, "drop_no_session"); // 11
  return handleUnknown(config, state, packet, gateway, classified);
}

/** "Fragments": a fragment goes to where its datagram's fragments meet, and there the way of the first. */
function handleFragment(
  config: ModelConfig,
  state: State,
  packet: Omit<Directed, "mark">,
  came: WrapMark,
  isAgain = false,
): Outcome {
  const { frame, ip, direction } = packet;
  const isOurs =
    direction === "outbound"
      ? gatewayOfSource(config, ip.source) !== undefined
      : config.addresses.has(ip.destination);
  const endpoint = findQuoted(frame, ip)?.destination ?? ip.source;
  const mapping = findStatic(config.staticMappings, ip, direction, classify(frame, ip, direction), endpoint);
  // Whichever node gets a fragment of a floating address translates it: they need not meet.
  const meets = isOurs && !(mapping && mapping.port === undefined);
  const mark = came === "meeting" ? (meets ? "direct" : "steered") : came;
  const here: Directed = { ...packet, mark };
  if (meets) {
    if (ip.ttl <= 1) return kernel(state, frame);
    const fault = faultOfPart(ip);
    if (fault) return drop(state, fault);
    const node = came === "direct" && !isAgain ? meetingNode(config, ip, direction) : undefined;
    if (node?.kind === "nobody") return drop(state, "drop_no_owner");
    if (node?.kind === "peer") {
      return steer(config, state, here, withoutPorts(ip), { node: node.address, mark: "meeting" });
    }
  }
  const key = datagramKey(ip, direction, mark);
  if (!ip.laterFragment) {
    const releasing = meets && !isAgain ? beginRelease(state, key) : undefined;
    return releasing ? circulate(releasing, labelled(frame, here), []) : handle(config, state, here);
  }
  const datagram = state.datagrams.get(key);
  if (datagram) return follow(config, state, here, datagram);
  if (mapping) return forwardStatic(config, state, here, mapping, undefined);
  if (!isOurs) return mark === "direct" ? kernel(state, frame) : drop(state, "drop_bad_wrap");
  if (isAgain) return drop(state, "drop_fragment"); // Its first has come, and was dropped.
  const held = hold(state, frame, ip, here, here.now);
  if (held.again) return circulate(held.state, held.again, []);
  return held.drop ? drop(held.state, held.drop) : kept(held.state, ["fragments_held"]);
}

/** A later fragment goes the way of its first. */
function follow(config: ModelConfig, state: State, packet: Directed, datagram: Datagram): Outcome {
  const { frame, ip, direction, mark, route } = packet;
  const { fate } = datagram;
  if (ip.ttl <= 1) return kernel(state, frame);
  const passed = isGoodPart(ip) ? passPart(state, datagramKey(ip, direction, mark), datagram, ip) : undefined;
  if (!passed) return drop(state, "drop_fragment");
  if (fate.kind === "sent-on") return steer(config, passed, packet, withoutPorts(ip), fate);
  const translated = translateAddress(frame, direction, fate.address);
  if (isHairpin(config, packet)) return turnInward(config, passed, packet, translated);
  const outbound = direction === "outbound";
  const sent = forward(translated, ip.totalBytes, route(outbound ? ip.destination : fate.address));
  if (sent.kind === "too-big") return refuse(config, passed, packet, sent.mtu, false);
  return finish(passed, sent, outbound ? "translated_out" : "translated_in");
}

/** Notes what becomes of a packet, if it is the first fragment of a larger one; undefined when there is no room for the note. */
function noteFirst(state: State, { ip, direction, mark, now }: Directed, fate: Fate): State | undefined {
  return ip.fragment && !ip.laterFragment ? beginDatagram(state, ip, direction, mark, fate, now) : state;
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
  const noted =
    mapping.port === undefined
      ? state // The later fragments of a floating address need no note.
      : noteFirst(state, packet, { kind: "translated", address: mapping.address });
  if (!noted) return drop(state, "drop_fragment_limit");
  if (isHairpin(config, packet)) return turnInward(config, noted, packet, translated.frame);
  const outbound = direction === "outbound";
  const sent = forward(translated.frame, ip.totalBytes, route(outbound ? ip.destination : mapping.address));
  if (sent.kind === "too-big") return refuse(config, noted, packet, sent.mtu, quoted !== undefined);
  return finish(noted, sent, outbound ? "translated_out" : "translated_in");
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
  const turn = state.contact.standsDown
    ? turnStandingDown(place, direction, mark)
    : turnOf(config, place, { direction, mark, isMiddle, hasMapping: !isMiddle && hasMapping });
  if (turn.kind === "drop") return drop(state, turn.counter);
  if (turn.kind === "send") {
    const to = { node: turn.to, mark: turn.mark };
    const noted = noteFirst(state, packet, { kind: "sent-on", ...to });
    return noted ? steer(config, noted, packet, tuple, to) : drop(state, "drop_fragment_limit");
  }
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
  const noted = noteFirst(state, packet, { kind: "translated", address: to.address });
  if (!noted) return drop(state, "drop_fragment_limit");
  if (isHairpin(config, packet)) return turnInward(config, noted, packet, translated);
  const way = route(outbound ? ip.destination : record.inside.address);
  const clamp = config.gateways.get(record.slot.gateway)?.behaviour.mssClamp;
  const sent = forward(clampMss(translated, ip, clamp, way), ip.totalBytes, way); // 16
  if (sent.kind === "too-big") return refuse(config, noted, packet, sent.mtu, quoted !== undefined);
  return finish(noted, sent, outbound ? "translated_out" : "translated_in");
}

/** Takes up a packet that was translated outward as if it came from outside. */
function turnInward(config: ModelConfig, state: State, { now, route }: Directed, frame: Buffer): Outcome {
  const parsed = parseIpv4(frame);
  if (!parsed.ok) throw new Error("translating broke a packet");
  const inward = takeUp(config, state, { frame, ip: parsed.ip, direction: "inbound", now, route }, "direct");
  return counted("translated_out", counted("hairpinned", inward));
}
