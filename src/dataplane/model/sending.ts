/** Sending a packet on to another node, and what is said when it does not fit (step 16 and "Wrap and unwrap" of docs/dataplane.md). */
import type { Ipv4View } from "../packet.ts";
import { tooBigFor } from "./answers.ts";
import type { Mark, WrapMark } from "./moves.ts";
import { answered, drop, finish, type Outcome } from "./outcome.ts";
import type { Direction, ModelConfig, State } from "./state.ts";
import { type Outline, WRAP_BYTES, wrap } from "./steer.ts";
import { forward, type RouteLookup } from "./translate.ts";

/** A packet of which the direction is known. */
export interface Directed {
  readonly frame: Buffer;
  readonly ip: Ipv4View;
  readonly direction: Direction;
  readonly mark: Mark;
  readonly now: number;
  readonly route: RouteLookup;
}

/** Wraps a packet for a node. */
export function steer(
  config: ModelConfig,
  state: State,
  packet: Directed,
  tuple: Outline,
  to: { readonly node: number; readonly mark: WrapMark },
): Outcome {
  const { frame, ip, direction, route } = packet;
  const wrapped = wrap(config, frame, ip, tuple, direction, to);
  const sent = forward(wrapped, ip.totalBytes + WRAP_BYTES, route(to.node));
  if (sent.kind === "too-big") return refuse(config, state, packet, sent.mtu - WRAP_BYTES, false);
  if (to.mark !== "steered" && to.mark !== "meeting") return finish(state, sent, "passed_on");
  return finish(state, sent, direction === "outbound" ? "steered_out" : "steered_in");
}

/** "Hairpins": the destination of an outbound packet is ours too. */
export function isHairpin({ addresses }: ModelConfig, { ip, direction }: Directed): boolean {
  return direction === "outbound" && addresses.has(ip.destination);
}

/** Step 16: what is too big is dropped, and its sender told so if it wants to know. An ICMP error is never answered. */
export function refuse(
  config: ModelConfig,
  state: State,
  packet: Directed,
  mtu: number,
  isError: boolean,
): Outcome {
  const { frame, ip, direction } = packet;
  const from = direction === "outbound" ? config.address : ip.destination;
  const answer = isError ? undefined : tooBigFor(frame, ip, from, mtu);
  return answer ? answered(state, answer, "drop_too_big", "too_big_sent") : drop(state, "drop_too_big");
}
