/**
 * Flows through a simulated cell. No packet is made: where one would go is asked of the reference model (src/dataplane/model/moves.ts), node by node, by
 * what each machine is programmed with at that moment. A flow's session is where its first packet came to, and stays there.
 */
import { type Mark, turnOf } from "../../src/dataplane/model/moves.ts";
import {
  type Direction,
  holdsSlot,
  type ModelConfig,
  placeOfSlot,
  type SlotName,
  type SlotPlace,
} from "../../src/dataplane/model/state.ts";
import { formatAddress } from "../../src/model/ipv4.ts";
import type { Machine } from "./machine.ts";
import type { Network } from "./network.ts";

export interface Flow {
  /** That of the endpoint: it says which way the packets from inside go. */
  readonly slot: SlotName;
  /** The one that its port is in: it says which way the answers go. */
  readonly ports: SlotName;
  /** Where its session is. */
  readonly home: Machine;
  readonly bornAt: number;
  readonly endsAt: number;
}

/** A machine that forwards, by its present configuration. */
export interface Hop {
  readonly machine: Machine;
  readonly model: ModelConfig;
}

/** Address → machine. */
export type Fleet = ReadonlyMap<number, Hop>;

/** What becomes of a packet: a node takes it as its own, or nobody does, and why. */
type Arrival = { readonly at: Hop; readonly place: SlotPlace | undefined } | { readonly lost: string };

/** What the first node can see of a packet. */
interface Packet {
  readonly direction: Direction;
  /** It cannot begin a flow: TCP without SYN. Otherwise (UDP) it looks like the first one of a flow. */
  readonly isMiddle: boolean;
  readonly flow: Flow | undefined;
}

/** The fabric's longest way, and one more. */
const MOST_HOPS = 8;

/** Follows a packet of this slot that the fabric brings to `entry`. */
function follow(packet: Packet, slot: SlotName, entry: Hop, fleet: Fleet, network: Network): Arrival {
  let at = entry;
  let mark: Mark = "direct";
  for (let hop = 0; hop < MOST_HOPS; hop++) {
    const { machine, model } = at;
    const place = placeOfSlot(model, slot);
    if (packet.flow && hasSession(at, packet.flow)) return { at, place };
    if (!place) return { lost: `${machine.name} does not know the slot` };
    const { direction, isMiddle } = packet;
    const turn = turnOf(model, place, { direction, mark, isMiddle, hasMapping: false });
    if (turn.kind === "here") return { at, place };
    if (turn.kind === "drop") return { lost: `${machine.name} drops it (${turn.counter}, ${mark})` };
    const next = fleet.get(turn.to);
    if (!next || !network.reaches(machine.name, next.machine.name)) {
      return { lost: `${machine.name} sends it to ${formatAddress(turn.to)}, which it does not reach` };
    }
    at = next;
    mark = turn.mark;
  }
  return { lost: "it goes round" };
}

/** Whether the node has the flow's session, and it counts. */
function hasSession({ machine, model }: Hop, flow: Flow): boolean {
  return flow.home === machine && holdsSlot(model, flow.ports);
}

/** Where a new flow of a slot begins: the node that takes it, and the slot that it gives it a port of; undefined: nobody takes it. */
export function beginning(
  slot: SlotName,
  entry: Hop,
  fleet: Fleet,
  network: Network,
): { readonly home: Machine; readonly ports: SlotName } | undefined {
  const packet: Packet = { direction: "outbound", isMiddle: false, flow: undefined };
  const arrival = follow(packet, slot, entry, fleet, network);
  if ("lost" in arrival || !arrival.place?.standIn) return undefined;
  return { home: arrival.at.machine, ports: arrival.place.standIn };
}

/**
 * What is wrong with a flow: its session counts no more, or a packet of it that comes in at some node, from either side, does not find it. Undefined:
 * nothing.
 */
export function troubleOf(flow: Flow, fleet: Fleet, network: Network): string | undefined {
  const home = [...fleet.values()].find(({ machine }) => machine === flow.home);
  if (!home) return `${flow.home.name} does not forward`;
  if (!hasSession(home, flow))
    return `${flow.home.name} has cut it: ${textOf(flow.ports)} is not its any more`;
  for (const entry of fleet.values()) {
    for (const { direction, isMiddle } of PACKETS) {
      const slot = direction === "outbound" ? flow.slot : flow.ports;
      const arrival = follow({ direction, isMiddle, flow }, slot, entry, fleet, network);
      const lost = "lost" in arrival ? arrival.lost : undefined;
      const strayed = "lost" in arrival || arrival.at === home ? undefined : arrival.at.machine.name;
      if (lost === undefined && strayed === undefined) continue;
      const what = direction === "inbound" ? "an answer" : isMiddle ? "a segment" : "a datagram";
      return `${what} that comes in at ${entry.machine.name}: ${lost ?? `${strayed} takes it for its own`}`;
    }
  }
  return undefined;
}

const PACKETS: readonly Pick<Packet, "direction" | "isMiddle">[] = [
  { direction: "outbound", isMiddle: true },
  { direction: "outbound", isMiddle: false },
  { direction: "inbound", isMiddle: true },
];

export function textOf({ address, number }: SlotName): string {
  return `${formatAddress(address)}/${number}`;
}

/** For people. */
export function describeFlow({ slot, ports, home, bornAt }: Flow): string {
  const own = slot.number === ports.number ? "" : ` in ports of ${textOf(ports)}`;
  return `the flow of ${textOf(slot)} that began at ${Math.round(bornAt)} ms on ${home.name}${own}`;
}
