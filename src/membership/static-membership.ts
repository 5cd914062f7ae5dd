/** Membership that is told who is alive: for tests and trials, and for fleets that something else watches. */
import { announceMembers } from "./members-announcer.ts";
import type { Members, Membership } from "./membership.ts";

export interface StaticMembership extends Membership {
  /** Replaces the members and announces the change; `trouble` as in `Membership.trouble`. */
  set(members: Members, trouble?: string): void;
}

export function openStaticMembership(initial: Members): StaticMembership {
  const { membership, tell, silence } = announceMembers(initial);
  return { ...membership, set: tell, close: async () => silence() };
}
