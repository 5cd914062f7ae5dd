/** What was found out about one condition of the node. */
import type { Condition } from "../model/meta.ts";

export type Finding = Pick<Condition, "status" | "reason" | "message">;
