/** What the agent reports of its node's routing: the conditions `Announced` and `SessionsUp`, and what `Ready` depends on. Pure; times are epoch ms. */
import { describeError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { DECLARED_SIDES } from "../model/routing.ts";
import { type Announcements, isNothing } from "../routing/announcements.ts";
import { UNREADY_AFTER_MS } from "./dataplane-health.ts";
import type { Finding } from "./finding.ts";
import type { RoutingState } from "./routing-state.ts";

export const ANNOUNCED = "Announced";
/** Reason of both while the cell declares no routing. */
export const NOT_DECLARED = "NotDeclared";
export const SESSIONS_UP = "SessionsUp";

/** Of each side. The status is written every few seconds, so it must not grow with the number of addresses. */
const MOST_SHOWN = 100;

type RoutingStatus = NonNullable<GatewayNode["status"]>["routing"];

/** The part of the status, given the one that is stored: left as it was as long as nothing is known. */
export function routingStatus(
  routing: RoutingState | undefined,
  earlier: RoutingStatus,
): { readonly routing?: NonNullable<RoutingStatus> } {
  if (routing?.spec && !routing.spec.routing) return {};
  const report = routing?.report;
  if (!report) return earlier ? { routing: earlier } : {};
  const [inside, outside] = DECLARED_SIDES.map((side) => report.announced[side].slice(0, MOST_SHOWN));
  const all = report.announced.inside.length + report.announced.outside.length;
  const shown = { inside: inside ?? [], outside: outside ?? [] };
  const announced = { ...shown, omitted: all - shown.inside.length - shown.outside.length };
  return { routing: { announced, sessions: report.sessions.map((session) => ({ ...session })) } };
}

/**
 * Whether the fabric reaches the node on every side to which it has sessions. A node that it does not reach is given no slots: others have to
 * carry them. Undefined in the first moments after the agent's restart, when nothing can be said.
 */
export function judgeFabric(
  routing: RoutingState | undefined,
  fresh: boolean,
  now: number,
): Finding | undefined | "connected" {
  if (!routing?.spec?.routing) return "connected";
  if (!routing.report) {
    const message = "the sessions with the fabric begin";
    return fresh ? { status: "False", reason: "Starting", message } : undefined;
  }
  const lost = DECLARED_SIDES.flatMap((side) => {
    const down = routing.down[side];
    const believed = down && (!down.wasUp || now - down.since >= UNREADY_AFTER_MS);
    return believed ? [{ side, since: down.since }] : [];
  });
  if (lost.length === 0) return "connected";
  const since = new Date(Math.min(...lost.map((one) => one.since))).toISOString();
  const sides = lost.map((one) => one.side).join(" or ");
  const message = `since ${since} no BGP session ${sides} is up: ${downMessages(routing).join("; ")}`;
  return { status: "False", reason: "FabricLost", message };
}

/** The conditions of a node; those of a node that announces nothing and has no sessions say so. */
export function judgeRouting(routing: RoutingState): readonly (readonly [string, Finding | undefined])[] {
  return [
    [ANNOUNCED, judgeAnnounced(routing)],
    [SESSIONS_UP, judgeSessions(routing)],
  ];
}

function judgeAnnounced({ spec, wanted, withheld, report, failure }: RoutingState): Finding | undefined {
  if (failure) return { status: "False", reason: "RoutingFailed", message: describeError(failure.error) };
  if (withheld !== undefined) {
    return { status: "False", reason: "Withheld", message: `nothing is announced: ${withheld}` };
  }
  if (!spec) return undefined;
  if (!spec.routing) {
    const message = "the cell declares no routing: the routes toward this node are made elsewhere";
    return { status: "False", reason: NOT_DECLARED, message };
  }
  if (!spec.routing.announce) {
    const message = "spec.routing.announce of the GatewayNode is false: set it to true to announce again";
    return { status: "False", reason: "NotWanted", message };
  }
  if (!report) return undefined;
  const missing = missingFrom(report.announced, wanted);
  if (isNothing(report.announced)) {
    return { status: "False", reason: "NotAnnounced", message: `no router is told of ${missing.join(", ")}` };
  }
  if (missing.length > 0) {
    const message = `${missing.join(", ")} is announced to nobody: the session on that side is down, or what lies beyond the node cannot be reached`;
    return { status: "False", reason: "Partly", message };
  }
  const { inside, outside } = report.announced;
  const message = `${inside.length} prefixes inside, ${outside.length} outside`;
  return { status: "True", reason: "Announced", message };
}

function missingFrom(announced: Announcements, wanted: Announcements): string[] {
  return DECLARED_SIDES.flatMap((side) =>
    wanted[side]
      .filter((prefix) => !announced[side].includes(prefix))
      .slice(0, 5)
      .map((prefix) => `${prefix} ${side}`),
  );
}

function judgeSessions(routing: RoutingState): Finding | undefined {
  const { spec, report } = routing;
  if (spec && !spec.routing) {
    return { status: "False", reason: NOT_DECLARED, message: "the cell declares no routing" };
  }
  if (!report || !spec?.routing) return undefined;
  if (spec.routing.driver === "kernel") {
    const message = "another daemon announces the kernel's routes; Natto does not know its sessions";
    return { status: "True", reason: "NotOurs", message };
  }
  const troubles = [...downMessages(routing), ...spec.routing.problems];
  const up = report.sessions.filter((session) => session.up).length;
  const summary = `${up} of ${report.sessions.length} sessions are up`;
  return troubles.length > 0
    ? { status: "False", reason: "SessionDown", message: `${summary}; ${troubles.join("; ")}` }
    : { status: "True", reason: "Established", message: summary };
}

function downMessages({ report }: RoutingState): string[] {
  return (report?.sessions ?? []).filter((session) => !session.up).map((session) => session.message);
}
