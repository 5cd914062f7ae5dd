/** Whose turn it is with a packet that no session here counts for (step 12 of docs/dataplane.md, "Whose turn it is"). */
import type { Direction, ModelConfig, Owner, SlotPlace } from "./state.ts";

/** How a packet came here, in ascending order: each node that passes it on uses a higher mark, so it comes to an end. */
export const MARKS = ["direct", "steered", "relayed", "handed-on", "returned", "last"] as const;
export type Mark = (typeof MARKS)[number];

/** Beside these, in a wrap: a fragment comes to where the others of its datagram come to, too, as if it had come there directly. */
export type WrapMark = Mark | "meeting";

export type Turn =
  | { readonly kind: "here" }
  | { readonly kind: "send"; readonly to: number; readonly mark: Mark }
  | { readonly kind: "drop"; readonly counter: "drop_no_owner" | "drop_not_owner" };

const HERE: Turn = { kind: "here" };
const NOT_OWNER: Turn = { kind: "drop", counter: "drop_not_owner" };

const isAtLeast = (mark: Mark, least: Mark): boolean => MARKS.indexOf(mark) >= MARKS.indexOf(least);

/** What the packet shows of its flow. */
export interface Shown {
  readonly direction: Direction;
  readonly mark: Mark;
  /** The packet cannot begin a flow: TCP without SYN, or an ICMP error. */
  readonly isMiddle: boolean;
  /** The endpoint has a mapping here that counts. */
  readonly hasMapping: boolean;
}

export function turnOf(config: ModelConfig, place: SlotPlace, shown: Shown): Turn {
  if (place.owner.kind === "nobody") return { kind: "drop", counter: "drop_no_owner" };
  return shown.direction === "inbound"
    ? inboundTurn(config, place, shown.mark)
    : outboundTurn(config, place, shown);
}

function inboundTurn(config: ModelConfig, place: SlotPlace, mark: Mark): Turn {
  const node = sameNode(place.holder, place.owner) ? actingOwner(config, place) : place.holder;
  if (node.kind === "self") return HERE;
  if (isAtLeast(mark, "relayed")) return NOT_OWNER;
  return send(node, mark === "direct" ? "steered" : "relayed");
}

function outboundTurn(config: ModelConfig, place: SlotPlace, shown: Shown): Turn {
  const { mark, isMiddle, hasMapping } = shown;
  const owner = actingOwner(config, place);
  const mayKnow = place.previous.kind === "self" || place.backup.kind === "self";
  const isAsked = place.previous.kind !== "nobody" || isAtLeast(mark, "handed-on");
  if (hasMapping && isAsked && (owner.kind === "self" || mayKnow)) return HERE;
  if (owner.kind === "self") return ownersTurn(config, place, shown);
  const canTake = isMiddle || place.standIn !== undefined;
  if (mayKnow && canTake && isAtLeast(mark, isMiddle ? "handed-on" : "returned")) return HERE;
  const wasMine = place.previous.kind === "self" && !isAtLeast(mark, "handed-on");
  if (wasMine || (mayKnow && mark === "handed-on")) return send(owner, "returned");
  return passOn(owner, mark);
}

/** Outbound, by somebody who does not take the packet, to who does as far as he knows. */
function passOn(taker: Owner, mark: Mark): Turn {
  switch (mark) {
    case "direct":
      return send(taker, "steered");
    case "steered":
      return send(taker, "relayed");
    case "relayed":
    case "handed-on":
      return send(taker, "returned");
    case "returned":
      return send(taker, "last");
    case "last":
      return NOT_OWNER;
  }
}

/**
 * Of a node that stands down nothing is its own: it passes on, for its own slots to the backup. Who is dead in its eyes may be so only because it
 * was cut off itself.
 */
export function turnStandingDown(place: SlotPlace, direction: Direction, mark: Mark): Turn {
  if (place.owner.kind === "nobody") return { kind: "drop", counter: "drop_no_owner" };
  const named = direction === "inbound" && place.holder.kind !== "self" ? place.holder : place.owner;
  const node = named.kind === "self" ? place.backup : named;
  if (node.kind !== "peer") return NOT_OWNER;
  if (direction === "outbound") return passOn(node, mark);
  return isAtLeast(mark, "relayed") ? NOT_OWNER : send(node, mark === "direct" ? "steered" : "relayed");
}

/** The owner asks the previous one, once, before it takes a flow as new; without ports for it, the previous one shall take it. */
function ownersTurn(config: ModelConfig, place: SlotPlace, { mark, isMiddle }: Shown): Turn {
  const { previous, standIn } = place;
  if (previous.kind !== "peer" || config.dead.has(previous.address)) return HERE;
  const canTake = standIn !== undefined;
  if ((isMiddle || canTake) && !isAtLeast(mark, "handed-on")) return send(previous, "handed-on");
  if (!isMiddle && !canTake && mark !== "last") return send(previous, "last");
  return HERE;
}

/** The owner, or its backup while the owner is dead in this node's eyes. */
export function actingOwner(config: ModelConfig, { owner, backup }: SlotPlace): Owner {
  const isDead = owner.kind === "peer" && config.dead.has(owner.address);
  return isDead && backup.kind !== "nobody" ? backup : owner;
}

/** A peer that the configuration does not know (any more) has no address to send to. */
function send(node: Owner, mark: Mark): Turn {
  return node.kind === "peer"
    ? { kind: "send", to: node.address, mark }
    : { kind: "drop", counter: node.kind === "nobody" ? "drop_no_owner" : "drop_not_owner" };
}

function sameNode(a: Owner, b: Owner): boolean {
  if (a.kind !== "peer" || b.kind !== "peer") return a.kind === b.kind;
  return a.address === b.address;
}
