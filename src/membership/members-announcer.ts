/** The members as they were last judged, and those who want to hear of changes: what all drivers have in common. */
import { sameMembers } from "./judgement.ts";
import type { Members, Membership } from "./membership.ts";

export interface MembersAnnouncer {
  readonly membership: Omit<Membership, "close">;
  /** The judgement of now. Undefined members: nothing could be heard, the last judgement stands. Announced if anything differs. */
  tell(members: Members | undefined, trouble: string | undefined): void;
  /** Nothing is announced any more. */
  silence(): void;
}

/** `initial`: undefined until something has been heard. */
export function announceMembers(initial?: Members): MembersAnnouncer {
  const listeners = new Set<() => void>();
  let members = initial;
  let trouble: string | undefined;
  return {
    membership: {
      ready: () => members !== undefined,
      current: () => members ?? new Map(),
      trouble: () => trouble,
      onChange: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    tell: (heard, why) => {
      const changed = heard !== undefined && !(members && sameMembers(members, heard));
      if (!changed && why === trouble) return;
      if (heard) members = heard;
      trouble = why;
      for (const listener of [...listeners]) listener();
    },
    silence: () => listeners.clear(),
  };
}
