/** Events out of conditions: what became wrong with an object, and what is well again. Pure. */
import { isTrouble, isTroubleIfTrue } from "../model/condition-sense.ts";
import type { ObjectReference } from "../model/event.ts";
import type { Condition } from "../model/meta.ts";
import type { Occurrence } from "./occurrence.ts";

type State = Pick<Condition, "type" | "status" | "reason" | "message">;

/** Each time that these happen is an event of its own. */
const TOLD_OTHERWISE: ReadonlySet<string> = new Set(["Repaired", "AgentRunning", "RolledOut"]);

/** Reasons of what is on its way to be well: every change passes through them. */
const PASSING: ReadonlySet<string> = new Set(["Pending", "Starting", "RollingOut", "Waiting"]);

/**
 * What happened between two looks at the conditions of an object: a condition that came to mean trouble is a `Warning` of its name (with `Not`
 * in front if it should hold), one that ceased to is `Normal`. What was well from the beginning is no event.
 */
export function conditionEvents(
  regarding: ObjectReference,
  before: readonly State[],
  after: readonly State[],
): readonly Occurrence[] {
  const earlier = new Map(before.map((condition) => [condition.type, condition]));
  return after.flatMap((condition): readonly Occurrence[] => {
    const { type, reason, message } = condition;
    if (TOLD_OTHERWISE.has(type) || PASSING.has(reason)) return [];
    const was = earlier.get(type);
    const wasTrouble = was !== undefined && isTrouble(was) && !PASSING.has(was.reason);
    const note = message === "" ? reason : `${reason}: ${message}`;
    if (isTrouble(condition)) {
      if (wasTrouble && was.reason === reason) return [];
      return [{ regarding, type: "Warning", reason: isTroubleIfTrue(type) ? type : `Not${type}`, note }];
    }
    if (!wasTrouble || condition.status === "Unknown") return [];
    return [{ regarding, type: "Normal", reason: isTroubleIfTrue(type) ? `${type}Over` : type, note }];
  });
}
