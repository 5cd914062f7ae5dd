/** How a packet's way through a node ends, and what the node is afterwards. */
import type { Counter, DropCounter, State } from "./state.ts";
import type { Forwarded } from "./translate.ts";

/**
 * `kernel` is XDP_PASS; `redirect` is XDP_REDIRECT, and so are `return`, back out of the interface that the packet came from, and `circulate`, into
 * both ends of Natto's own pair. What is `kept` goes nowhere: it is held, or has done its work.
 */
export type Verdict =
  | { readonly kind: "drop"; readonly counter: DropCounter }
  | { readonly kind: "kernel" }
  | { readonly kind: "redirect"; readonly ifindex: number }
  | { readonly kind: "return" }
  | { readonly kind: "circulate" }
  | { readonly kind: "kept" };

export interface Outcome {
  readonly state: State;
  readonly verdict: Verdict;
  /** The frame as it leaves or goes to the kernel; undefined when it is dropped or kept. */
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

export function kept(state: State, counters: readonly Counter[]): Outcome {
  return { state, verdict: { kind: "kept" }, packet: undefined, counters };
}

export function circulate(state: State, packet: Buffer, counters: readonly Counter[]): Outcome {
  return { state, verdict: { kind: "circulate" }, packet, counters };
}
