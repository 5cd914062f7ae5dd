/** How a packet's way through a node ends, and what the node is afterwards. */
import type { Counter, DropCounter, State } from "./state.ts";
import type { Forwarded } from "./translate.ts";

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

export function finish(
  state: State,
  sent: Exclude<Forwarded, { kind: "too-big" }>,
  counter: Counter,
): Outcome {
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

export function counted(counter: Counter, outcome: Outcome): Outcome {
  return { ...outcome, counters: [counter, ...outcome.counters] };
}

/** What is dropped, and answered toward where it came from. */
export function answered(state: State, answer: Buffer, reason: DropCounter, sent: Counter): Outcome {
  return { state, verdict: { kind: "return" }, packet: answer, counters: [reason, sent] };
}

export function kernel(state: State, packet: Buffer): Outcome {
  return { state, verdict: { kind: "kernel" }, packet, counters: [] };
}

export function drop(state: State, counter: DropCounter): Outcome {
  return { state, verdict: { kind: "drop", counter }, packet: undefined, counters: [counter] };
}
