/**
 * Membership: who is alive. Drivers: `store-membership.ts` (heartbeats in the store, for one machine or a small fleet) and
 * `consul-membership.ts`; both keep the contract of `contract.ts`. What it reports is an opinion; the controller obeys it only within the
 * limits of `Cell.spec.membership` (see `doubt.ts`).
 */

/**
 * - `alive`: its agent renews its heartbeat.
 * - `unmanaged`: its agent is silent, but peers see its dataplane forward; or its checks warn. It keeps what it has and is given nothing new.
 * - `gone`: its agent is silent and no peer sees it; or the agent itself says that the node does not forward.
 */
export type MemberState = "alive" | "unmanaged" | "gone";

/** Node name → state. A registered node that is missing has never been heard of and counts as `gone`. */
export type Members = ReadonlyMap<string, MemberState>;

export interface Membership {
  /** Whether it has heard of the members at all. Until then `current` is empty without meaning anything. */
  ready(): boolean;
  /** The members now; changes, also of `ready` and `trouble`, are announced by `onChange`. */
  current(): Members;
  /**
   * Why `current` may be old, and what to do: its source cannot be reached, so that the last judgement stands, or agents register elsewhere.
   * Undefined while all is followed.
   */
  trouble(): string | undefined;
  /** Calls back after each change, until the returned function is called. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
