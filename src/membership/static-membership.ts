/** Membership that is told who is alive: for tests and trials, and for fleets that something else watches. */
import type { Members, Membership } from "./membership.ts";

export interface StaticMembership extends Membership {
  /** Replaces the members and announces the change. */
  set(members: Members): void;
}

export function openStaticMembership(initial: Members): StaticMembership {
  const listeners = new Set<() => void>();
  let members = initial;
  return {
    ready: () => true,
    current: () => members,
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    set: (next) => {
      members = next;
      for (const listener of [...listeners]) listener();
    },
    close: async () => listeners.clear(),
  };
}
