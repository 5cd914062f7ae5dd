/** Whether the dataplane can be trusted with traffic, told from what the reconciler found. Pure; times are epoch ms. */
import { describeError } from "../errors.ts";
import type { DataplaneState } from "./reconciler.ts";

/** A dataplane that was good is still trusted through failures to check or change it that are shorter than this. */
export const UNREADY_AFTER_MS = 3000;
/** An attempt to program the dataplane that takes longer will not come back. */
export const STUCK_AFTER_MS = 10_000;

export interface DataplaneTrouble {
  readonly reason: "DataplaneStuck" | "DataplaneFailed";
  readonly message: string;
}

/** What is wrong with the dataplane; undefined when nothing is, or when nothing is known yet. */
export function troubleOf(dataplane: DataplaneState, now: number): DataplaneTrouble | undefined {
  const { applied, failure, attemptSince } = dataplane;
  if (attemptSince !== undefined && now - attemptSince > STUCK_AFTER_MS) {
    const seconds = Math.floor(STUCK_AFTER_MS / 1000);
    const message = `programming the dataplane takes more than ${seconds} s; restart the agent: forwarding goes on meanwhile`;
    return { reason: "DataplaneStuck", message };
  }
  if (failure && (!applied || now - failure.since >= UNREADY_AFTER_MS)) {
    return { reason: "DataplaneFailed", message: describeError(failure.error) };
  }
  return undefined;
}
