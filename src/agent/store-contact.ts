/** Whether the store answers, and when it last did not. Pure: each call to the store is told to it. Times are epoch ms. */
import type { NattoError } from "../errors.ts";

export interface StoreContact {
  /** Undefined until the first call has ended. */
  readonly reachable: boolean | undefined;
  /** The outage that is going on, or the last one. `to` is undefined while it goes on. */
  readonly outage:
    | { readonly from: number; readonly to: number | undefined; readonly message: string }
    | undefined;
}

export const NO_CONTACT: StoreContact = { reachable: undefined, outage: undefined };

/** A call was answered, be it with an error. */
export function storeAnswered(contact: StoreContact, now: number): StoreContact {
  if (contact.reachable) return contact;
  const { outage } = contact;
  return { reachable: true, outage: outage && outage.to === undefined ? { ...outage, to: now } : outage };
}

/** A call failed with this error; one that is not transient is an answer. */
export function storeFailed(contact: StoreContact, error: NattoError, now: number): StoreContact {
  if (!error.transient) return storeAnswered(contact, now);
  if (contact.reachable === false) return contact;
  return { reachable: false, outage: { from: now, to: undefined, message: error.message } };
}
