/** Whether the store answers, and when it last did not. Times are epoch ms. */
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError, type NattoError } from "../errors.ts";
import type { AgentLogger } from "./agent-logger.ts";

export interface StoreContact {
  /** Undefined until the first call has ended. */
  readonly reachable: boolean | undefined;
  /** The outage that is going on, or the last one. `to` is undefined while it goes on. */
  readonly outage:
    | { readonly from: number; readonly to: number | undefined; readonly message: string }
    | undefined;
}

export const NO_CONTACT: StoreContact = { reachable: undefined, outage: undefined };

/** A call was answered, be it with an error. Pure. */
export function storeAnswered(contact: StoreContact, now: number): StoreContact {
  if (contact.reachable) return contact;
  const { outage } = contact;
  return { reachable: true, outage: outage && outage.to === undefined ? { ...outage, to: now } : outage };
}

/** A call failed with this error; one that is not transient is an answer. Pure. */
export function storeFailed(contact: StoreContact, error: NattoError, now: number): StoreContact {
  if (!error.transient) return storeAnswered(contact, now);
  if (contact.reachable === false) return contact;
  return { reachable: false, outage: { from: now, to: undefined, message: error.message } };
}

export interface ContactTracker {
  state(): StoreContact;
  /** Told the outcome of each call to the store: undefined, or what was thrown. */
  note(thrown: unknown): void;
}

/** Keeps the contact; calls back after the store became reachable or unreachable. `description` names the store. */
export function trackContact(
  description: string,
  logger: AgentLogger,
  onChange: () => void,
  clock: Clock = SYSTEM_CLOCK,
): ContactTracker {
  let contact = NO_CONTACT;
  return {
    state: () => contact,
    note(thrown) {
      const before = contact;
      const now = clock.now();
      contact =
        thrown === undefined ? storeAnswered(before, now) : storeFailed(before, asNattoError(thrown), now);
      if (before.reachable === contact.reachable) return;
      logger.info(contact.reachable ? `the store answers (${description})` : "the store does not answer");
      onChange();
    },
  };
}
