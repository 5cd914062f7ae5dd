/** The network of a simulation: which machines reach which, how long it takes, what is lost; and a store at its other end. */
import { NattoError } from "../../src/errors.ts";
import type { Kind } from "../../src/model/kinds.ts";
import { pause } from "../../src/store/pause.ts";
import type { Selection, Store, WatchEvent } from "../../src/store/store.ts";
import { interceptCalls } from "../../src/store/testing/intercepted-store.ts";
import type { Random } from "../chaos/random.ts";
import type { SimProcess } from "./virtual-time.ts";

/** Where the store is, and whatever sends packets to the fleet and takes them from it. */
export const STORE = "store";
export const WORLD = "world";

export interface Network {
  /** Cuts one direction between two places until the returned function is called; `*` stands for all places. */
  cut(from: string, to: string): () => void;
  /** The share of messages that get lost, and the longest time that one takes, in milliseconds. */
  disturb(loss: number, maxDelayMs: number): void;
  calm(): void;
  isCalm(): boolean;
  /** Grows whenever something is cut or mended. */
  changes(): number;
  reaches(from: string, to: string): boolean;
  /** Whether one message gets there. */
  passes(from: string, to: string): boolean;
  delayMs(): number;
}

const CALM_DELAY_MS = 3;

export function simNetwork(random: Random): Network {
  /** `from>to` → how often it is cut. */
  const cuts = new Map<string, number>();
  let cutCount = 0;
  let changes = 0;
  let loss = 0;
  let maxDelayMs = CALM_DELAY_MS;
  const reaches = (from: string, to: string): boolean =>
    cutCount === 0 || ![`${from}>${to}`, `${from}>*`, `*>${to}`].some((cut) => (cuts.get(cut) ?? 0) > 0);
  const count = (cut: string, by: number): void => {
    cuts.set(cut, (cuts.get(cut) ?? 0) + by);
    cutCount += by;
    changes++;
  };
  return {
    cut: (from, to) => {
      count(`${from}>${to}`, 1);
      return () => count(`${from}>${to}`, -1);
    },
    disturb: (share, ms) => {
      loss = share;
      maxDelayMs = ms;
    },
    calm: () => {
      loss = 0;
      maxDelayMs = CALM_DELAY_MS;
    },
    isCalm: () => loss === 0 && maxDelayMs === CALM_DELAY_MS,
    changes: () => changes,
    reaches,
    passes: (from, to) => reaches(from, to) && random.between(0, 1) >= loss,
    delayMs: () => random.between(0, maxDelayMs),
  };
}

/** How long a call is waited for, and a watch in which nothing comes. */
const CALL_MS = 1_000;
const SILENCE_MS = 3_000;

/**
 * The store as a process at some place sees it. A call or its answer that is lost is an `Unavailable` of which nobody knows whether the write took
 * place. Calls overtake each other.
 */
export function remoteStore(store: Store, place: string, { clock }: SimProcess, network: Network): Store {
  const alive = new AbortController().signal;
  const away = (): NattoError => new NattoError("Unavailable", "the store does not answer");
  const leg = (from: string, to: string) => async (): Promise<boolean> => {
    const passes = network.passes(from, to);
    await pause(passes ? network.delayMs() : CALL_MS, alive, clock);
    return passes;
  };
  const [there, back] = [leg(place, STORE), leg(STORE, place)];

  async function call<T>(work: () => Promise<T>): Promise<T> {
    if (!(await there())) throw away();
    const outcome = await work().then(
      (value) => ({ value }),
      (thrown: unknown) => ({ thrown }),
    );
    if (!(await back())) throw away();
    if ("thrown" in outcome) throw outcome.thrown;
    return outcome.value;
  }

  async function* watch<K extends Kind>(
    selection: Selection<K>,
    from: string,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<K>> {
    if (!(await there())) throw away();
    for await (const event of store.watch(selection, from, signal)) {
      let waitedMs = 0;
      // A stream is sent again until it gets through: it is late, but in order and complete.
      while (!network.passes(STORE, place)) {
        if (waitedMs >= SILENCE_MS) throw away();
        await pause(SILENCE_MS / 10, alive, clock);
        waitedMs += SILENCE_MS / 10;
      }
      await pause(network.delayMs(), alive, clock);
      if (signal.aborted) return;
      yield event;
    }
  }

  const remote = (inner: Store): Store => ({
    ...interceptCalls(inner, call),
    description: "simulated:",
    fenced: (fence) => remote(inner.fenced(fence)),
    watch,
    close: async () => {},
  });
  return remote(store);
}
