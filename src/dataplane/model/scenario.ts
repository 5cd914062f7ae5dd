/**
 * Scenarios: a world, a node in it, and what happens to that node in order. `advance` plays one step in the model; whoever tests
 * something against the model does the same to it and compares.
 */
import { buildPacket, ECHO_REPLY, ETHERNET_BYTES, type Packet, parseIpv4, parsePacket } from "../packet.ts";
import { classify } from "./classify.ts";
import type { WrapMark } from "./moves.ts";
import type { Outcome } from "./outcome.ts";
import { buildSketch, type Part, partOfPacket } from "./sketch.ts";
import {
  type Direction,
  EMPTY_STATE,
  type ModelConfig,
  type PairEnd,
  type Role,
  type SlotName,
  type State,
} from "./state.ts";
import { withoutPorts, wrap } from "./steer.ts";
import { type Arrival, step } from "./step.ts";
import { sweep } from "./sweep.ts";
import type { RouteLookup } from "./translate.ts";
import { configOf, moveSlot, plannedRoutes, rolesOf, type World, type WorldMove } from "./world.ts";

/** So many units of 8 bytes does an answer have that comes in parts. */
export const UNITS_OF_PARTS = 8;

export type Step =
  /** A frame comes to the interface of this role. */
  | { readonly kind: "packet"; readonly role: Role; readonly frame: Buffer }
  /** A remote answers one of the packets that were sent so far, or an endpoint one that was delivered (counted modulo their number). */
  | {
      readonly kind: "reply";
      readonly about: "sent" | "delivered";
      readonly to: number;
      /** Who answers in place of the remote that was asked: another address or port. */
      readonly from: { readonly address?: number; readonly port?: number } | undefined;
      /** Of a TCP answer. */
      readonly tcpFlags: number;
      /** Of a fragmented answer, the part that comes; its payload is as long as all parts need. */
      readonly part?: Part;
      /** The peer (counted modulo their number) that the answer reached and that wraps it; undefined = it comes directly. */
      readonly wrappedBy: number | undefined;
    }
  /**
   * Somebody answers with an ICMP error that quotes a packet: one that was translated outward (`about: "sent"`), or inward
   * ("delivered"; the endpoint, or a router before it, complains). Counted modulo their number.
   */
  | {
      readonly kind: "error";
      readonly about: "sent" | "delivered";
      readonly to: number;
      readonly type: number;
      readonly code: number;
      /** How much of the packet is quoted, in bytes. */
      readonly quote: number;
      /** Who sends the error, instead of the quoted packet's destination. */
      readonly router: number | undefined;
      readonly wrappedBy: number | undefined;
    }
  /** Time passes, then all records are swept. */
  | { readonly kind: "advance"; readonly milliseconds: number }
  /** A slot gets another owner: an index into the world's nodes, or NOBODY. */
  | { readonly kind: "move"; readonly slot: SlotName; readonly owner: number; readonly move?: WorldMove }
  /** What goes round in the node's own pair of interfaces comes out: one frame, the one that was first. There are any after `packet`, `reply`, `error`. */
  | { readonly kind: "circulate" }
  /** These nodes are dead from now on in the eyes of the node, and no others. */
  | { readonly kind: "deaths"; readonly dead: readonly number[] }
  /** The agent knows what is declared: the node need not stand down any more. */
  | { readonly kind: "confirm" };

export interface Scenario {
  readonly world: World;
  /** The node that all happens to: an index into the world's nodes. */
  readonly node: number;
  readonly steps: readonly Step[];
}

/** Where a scenario stands. */
export interface Play {
  readonly world: World;
  readonly node: number;
  /** The node's configuration in the world as it is now. */
  readonly config: ModelConfig;
  readonly state: State;
  /** Milliseconds since the scenario began. */
  readonly now: number;
  readonly route: RouteLookup;
  /** Translated outbound packets so far. */
  readonly sent: readonly Buffer[];
  /** Translated inbound packets so far. */
  readonly delivered: readonly Buffer[];
  /** What is in the node's own pair of interfaces. */
  readonly circulating: readonly { readonly role: PairEnd; readonly frame: Buffer }[];
}

export type Event =
  | { readonly kind: "packet"; readonly arrival: Arrival; readonly outcome: Outcome }
  | { readonly kind: "swept"; readonly expired: number; readonly lostFragments: number }
  | { readonly kind: "moved" }
  | { readonly kind: "confirmed" }
  /** There was nothing to answer. */
  | { readonly kind: "nothing" };

/** The steps of a scenario, as many more as it takes until nothing circulates any more after each of them. */
export function* allSteps(steps: readonly Step[], play: () => Play): Generator<Step> {
  for (const step of steps) {
    yield step;
    while (play().circulating.length > 0) yield { kind: "circulate" };
  }
}

/** The beginning of a scenario. `route` is what the node's routing table says; the plan's routes unless given. */
export function begin(scenario: Scenario, route?: RouteLookup): Play {
  const { world, node } = scenario;
  return {
    world,
    node,
    config: configOf(world, node),
    state: EMPTY_STATE,
    now: 0,
    route: route ?? plannedRoutes(world.nodes[node]!),
    sent: [],
    delivered: [],
    circulating: [],
  };
}

/** Plays one step. */
export function advance(play: Play, next: Step): { readonly play: Play; readonly event: Event } {
  const { world, state } = play;
  switch (next.kind) {
    case "packet":
      return receive(play, next.role, next.frame);
    case "reply":
      return answerTo(play, next, (asked) => {
        const reply = replyTo(
          asked,
          next.tcpFlags,
          next.from,
          next.part && Buffer.alloc(8 * UNITS_OF_PARTS - 8, 7),
        );
        return reply && next.part ? partOfPacket(reply, next.part) : reply;
      });
    case "error":
      return answerTo(play, next, (about) => errorAbout(about, next));
    case "advance": {
      const now = play.now + next.milliseconds;
      const swept = sweep(play.config, state, now);
      const { state: after, ...counts } = swept;
      return { play: { ...play, now, state: after }, event: { kind: "swept", ...counts } };
    }
    case "circulate": {
      const [first, ...circulating] = play.circulating;
      if (!first) return { play, event: { kind: "nothing" } };
      return receive({ ...play, circulating }, first.role, first.frame);
    }
    case "move":
      return change(play, moveSlot(world, next.slot, next.owner, next.move));
    case "deaths":
      return change(play, { ...world, dead: next.dead });
    case "confirm": {
      const contact = { ...state.contact, standsDown: false };
      return { play: { ...play, state: { ...state, contact } }, event: { kind: "confirmed" } };
    }
  }
}

function change(play: Play, world: World): { readonly play: Play; readonly event: Event } {
  return { play: { ...play, world, config: configOf(world, play.node) }, event: { kind: "moved" } };
}

function receive(
  play: Play,
  role: Role | PairEnd,
  frame: Buffer,
): { readonly play: Play; readonly event: Event } {
  const { config, state, now, route } = play;
  const arrival = { frame, role, now, route };
  const outcome = step(config, state, arrival);
  const { packet, counters } = outcome;
  const grown = (list: readonly Buffer[], counter: "translated_out" | "translated_in") =>
    packet && counters.includes(counter) ? [...list, packet] : list;
  const sent = counters.includes("hairpinned") ? play.sent : grown(play.sent, "translated_out");
  const delivered = grown(play.delivered, "translated_in");
  const ends =
    outcome.verdict.kind === "circulate" && packet
      ? (["again", "held"] as const).map((end) => ({ role: end, frame: packet }))
      : [];
  const circulating = [...play.circulating, ...ends];
  return {
    play: { ...play, state: outcome.state, sent, delivered, circulating },
    event: { kind: "packet", arrival, outcome },
  };
}

/** Somebody answers a packet with what `make` makes of it. */
function answerTo(
  play: Play,
  answer: Extract<Step, { kind: "reply" | "error" }>,
  make: (frame: Buffer) => Buffer | undefined,
): { readonly play: Play; readonly event: Event } {
  const { world, node } = play;
  const inbound = answer.about === "sent";
  const packets = play[answer.about];
  const about = packets[answer.to % packets.length];
  const frame = about && make(about);
  if (!frame) return { play, event: { kind: "nothing" } };
  const carried =
    answer.wrappedBy === undefined
      ? frame
      : wrapAtPeer(world, node, answer.wrappedBy, frame, inbound ? "inbound" : "outbound");
  const roles = rolesOf(world);
  return receive(play, inbound ? roles.at(-1)! : roles[0]!, carried ?? frame);
}

/** The ICMP error that somebody sends about a packet to its source. */
export function errorAbout(
  frame: Buffer,
  { type, code, quote, router }: Pick<Extract<Step, { kind: "error" }>, "type" | "code" | "quote" | "router">,
): Buffer | undefined {
  const parsed = parseIpv4(frame);
  if (!parsed.ok) return undefined;
  const { source, destination, totalBytes } = parsed.ip;
  const payload = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + Math.min(quote, totalBytes));
  return buildSketch({
    ip: { source: router ?? destination, destination: source },
    transport: { kind: "icmp", type, code, identifier: 0, sequence: 1400, payload },
  });
}

/**
 * What a remote answers to a packet: back to where it came from, echo request with echo reply. `from` puts another in its place, `payload` says
 * something else.
 */
export function replyTo(
  frame: Buffer,
  tcpFlags: number,
  from?: Extract<Step, { kind: "reply" }>["from"],
  payload?: Buffer,
): Buffer | undefined {
  const parsed = parsePacket(frame);
  if (!parsed.ok || parsed.packet.transport.kind === "raw") return undefined;
  const { ethernet, ip, transport } = parsed.packet;
  return buildPacket({
    ethernet: { destination: ethernet.source, source: ethernet.destination },
    ip: { ...ip, source: from?.address ?? ip.destination, destination: ip.source, ttl: 60 },
    transport: { ...answer(transport, tcpFlags, from?.port), ...(payload ? { payload } : {}) },
    padding: parsed.packet.padding,
  });
}

function answer(
  transport: Exclude<Packet["transport"], { kind: "raw" }>,
  tcpFlags: number,
  fromPort: number | undefined,
): Packet["transport"] {
  if (transport.kind === "icmp") return { ...transport, type: ECHO_REPLY };
  const swapped = {
    sourcePort: fromPort ?? transport.destinationPort,
    destinationPort: transport.sourcePort,
  };
  return transport.kind === "tcp"
    ? { ...transport, ...swapped, flags: tcpFlags }
    : { ...transport, ...swapped };
}

/** A frame as a peer of a node (counted modulo their number) would wrap it for it; undefined for what no node would wrap. */
export function wrapAtPeer(
  world: World,
  node: number,
  peer: number,
  frame: Buffer,
  direction: Direction,
  mark: WrapMark = "steered",
): Buffer | undefined {
  const others = world.nodes.map((_, index) => index).filter((index) => index !== node);
  const from = others[peer % others.length];
  const parsed = parseIpv4(frame);
  if (from === undefined || !parsed.ok) return undefined;
  const to = { node: world.nodes[node]!.address, mark };
  const { ip } = parsed;
  if (ip.fragment) return wrap(configOf(world, from), frame, ip, withoutPorts(ip), direction, to);
  const classified = classify(frame, ip, direction);
  if (!classified.ok) return undefined;
  return wrap(configOf(world, from), frame, ip, classified.tuple, direction, to);
}
