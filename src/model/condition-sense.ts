/** What conditions mean: which of them tell of trouble, for tables and events. Pure. */
import type { Condition } from "./meta.ts";

/** Conditions that mean trouble when they hold; all others do when they don't. */
const TROUBLE_IF_TRUE: ReadonlySet<string> = new Set([
  "MembershipDoubted",
  "ConfigDoubted",
  "Repaired",
  "SessionPressure",
  "PortsLow",
  "PortsExhausted",
]);

/** Whether a condition of this type means trouble when it is True. */
export function isTroubleIfTrue(type: string): boolean {
  return TROUBLE_IF_TRUE.has(type);
}

/** Whether it is not as it should be; what is unknown is no trouble. */
export function isTrouble({ type, status }: Pick<Condition, "type" | "status">): boolean {
  return status === (isTroubleIfTrue(type) ? "True" : "False");
}
