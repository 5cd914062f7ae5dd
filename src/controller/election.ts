/**
 * Leader election: of several controllers over one store one works at a time. Whoever wins is given a term; the store refuses writes
 * under a term that is over (`Store.fenced`), so a leader that was paused and wakes up cannot write, whatever it believes. Drivers:
 * `store-election.ts`.
 */
import type { Fence, Store } from "../store/store.ts";

/** The time during which one process leads. */
export interface Term {
  readonly fence: Fence;
  /** The store, for writes that may take place in this term only. */
  readonly store: Store;
}

export interface Election {
  /** The term of this process, as far as it knows; undefined while it does not lead. The same value throughout a term. */
  term(): Term | undefined;
  /** Who leads as far as is known, for people. */
  leader(): string | undefined;
  /** Calls back when this process begins or ends to lead, until the returned function is called. */
  onChange(listener: () => void): () => void;
  /** To be called when a write was `Fenced`: looks at once who leads. */
  doubt(): void;
  /** Gives up the term, so that nobody need wait for its end. */
  close(): Promise<void>;
}
