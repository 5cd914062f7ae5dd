/** What the agent says about its node to Consul: from the conditions of the node to checks. Pure. */
import type { CheckState } from "../membership/consul-catalog.ts";
import type { NodeCheck } from "../membership/consul-registration.ts";
import { NODE_READY } from "../model/gateway-node.ts";
import type { Condition } from "../model/meta.ts";
import { CONFIG_APPLIED, CONFIG_DOUBTED } from "./node-status.ts";
import { SESSIONS_UP } from "./routing-status.ts";

/** Reasons of `SessionsUp` where the node speaks BGP. */
const SPEAKING: ReadonlySet<string> = new Set(["Established", "SessionDown"]);

type Seen = Pick<Condition, "type" | "status" | "reason" | "message">;

/**
 * - `dataplane`: attached, programmed, and reached by the fabric; critical when not, since then the node carries nothing.
 * - `config`: what is declared is applied; a warning when it is doubted or could not be applied, since then the node can only go on as it is.
 * - `routing`, where the node speaks BGP itself: a warning while a session is down.
 *
 * A check whose condition is not known yet has no state.
 */
export function healthChecks(conditions: readonly Seen[]): readonly NodeCheck[] {
  const find = (type: string) => conditions.find((condition) => condition.type === type);
  const found = find(SESSIONS_UP);
  const sessions = found && SPEAKING.has(found.reason) ? found : undefined;
  return [
    check("dataplane", find(NODE_READY), "critical"),
    configCheck(find(CONFIG_APPLIED), find(CONFIG_DOUBTED)),
    ...(sessions ? [check("routing", sessions, "warning")] : []),
  ];
}

function check(name: string, condition: Seen | undefined, whenFalse: CheckState): NodeCheck {
  if (!condition || condition.status === "Unknown") return { name, state: undefined, output: "" };
  const { status, reason, message } = condition;
  return { name, state: status === "True" ? "passing" : whenFalse, output: `${reason}: ${message}` };
}

function configCheck(applied: Seen | undefined, doubted: Seen | undefined): NodeCheck {
  if (doubted?.status === "True") {
    return { name: "config", state: "warning", output: `${doubted.reason}: ${doubted.message}` };
  }
  // What is just being applied is no fault.
  const pending = applied?.reason === "Pending";
  return check("config", pending ? { ...applied, status: "True" } : applied, "warning");
}
