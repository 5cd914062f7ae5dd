/**
 * The configuration of BIRD 2, rendered. Pure: equal input gives equal text, so that a text is compared and not understood.
 *
 * What is announced are static routes in a table of each side. Their next hops are the routers of the *other* side, watched by BFD: BIRD itself
 * takes an announcement back as soon as the node can no longer pass on what it would attract, without anybody's help. The next hop that
 * neighbours are told is always the node itself.
 */
import { createHash } from "node:crypto";
import { DECLARED_SIDES, type DeclaredSide, SIDES, type Side, servesSide } from "../model/routing.ts";
import type { Announcements } from "./announcements.ts";
import type { ReadySession } from "./sessions.ts";

/** A constant in the configuration that names its content: what a running BIRD has loaded can be asked for. */
export const DIGEST_CONSTANT = "natto_digest";

export interface BirdConfig {
  readonly routerId: string;
  readonly bfd: { readonly intervalMs: number; readonly multiplier: number };
  readonly sessions: readonly ReadySession[];
  readonly announce: Announcements;
  readonly logFile: string;
}

export interface RenderedConfig {
  readonly text: string;
  readonly digest: string;
}

/** The name of a session's protocol in BIRD. A name of Natto has no underscore, so two never become one. */
export function protocolName(session: string): string {
  return `session_${session.replaceAll("-", "_")}`;
}

/**
 * The table from which the sessions of a side announce. Its routes come from a static protocol for each of `DECLARED_SIDES`, called by the table's
 * name, an underscore and the side.
 */
export function tableName(side: Side): string {
  return `natto_${side}`;
}

/** Renders the configuration. */
export function renderBird(config: BirdConfig): RenderedConfig {
  const { routerId, bfd, sessions, logFile } = config;
  const sides = SIDES.filter((side) => sessions.some((session) => session.side === side));
  const body = [
    `router id ${routerId};`,
    // A megabyte, and as much of what was before.
    `log "${logFile}" 1048576 "${logFile}.1" { info, remote, warning, error, auth, fatal, bug };`,
    "protocol device { scan time 5; }",
    ...(sessions.some((session) => session.bfd) ? [renderBfd(bfd)] : []),
    ...sides.flatMap((side) => renderAnnouncements(side, config)),
    ...sessions.map(renderSession),
  ].join("\n");
  const digest = createHash("sha256").update(body).digest("hex").slice(0, 16);
  const text = `# Written by the agent of Natto, which overwrites changes: declare them on the Cell or the GatewayNode.
define ${DIGEST_CONSTANT} = "${digest}";
${body}
`;
  return { text, digest };
}

function renderBfd({ intervalMs, multiplier }: BirdConfig["bfd"]): string {
  return `protocol bfd {
  interface "*" {
    min rx interval ${intervalMs} ms;
    min tx interval ${intervalMs} ms;
    multiplier ${multiplier};
  };
}`;
}

function renderAnnouncements(table: Side, { announce, sessions }: BirdConfig): string[] {
  const name = tableName(table);
  return [
    `ipv4 table ${name};`,
    ...DECLARED_SIDES.filter((what) => servesSide(table, what)).flatMap((what) => [
      `protocol static ${name}_${what} {`,
      `  ipv4 { table ${name}; };`,
      ...renderRoutes(announce[what], what === "inside" ? "outside" : "inside", sessions),
      "}",
    ]),
  ];
}

/** Static routes by the routers of the side that lies beyond. */
function renderRoutes(
  prefixes: readonly string[],
  beyond: DeclaredSide,
  sessions: readonly ReadySession[],
): string[] {
  const hops = sessions
    .filter((session) => servesSide(session.side, beyond))
    .map(({ peer, bfd }) => `via ${peer}${bfd ? " bfd" : ""}`);
  // Without a session on the other side there is nothing to watch: the way there is somebody else's.
  const way = hops.length > 0 ? hops.join(" ") : "blackhole";
  return prefixes.map((prefix) => `  route ${prefix} ${way};`);
}

function renderSession(session: ReadySession): string {
  const { name, side, peer, peerAs, localAs, bfd, password, holdSeconds } = session;
  return [
    `protocol bgp ${protocolName(name)} {`,
    `  local as ${localAs};`,
    `  neighbor ${peer} as ${peerAs};`,
    `  hold time ${holdSeconds};`,
    // A session that broke is tried again within seconds, not minutes as by default.
    "  connect delay time 1;",
    "  connect retry time 2;",
    "  error wait time 1, 5;",
    "  error forget time 30;",
    `  bfd ${bfd ? "on" : "off"};`,
    ...(password === undefined ? [] : [`  password "${password}";`]),
    "  ipv4 {",
    `    table ${tableName(side)};`,
    "    import none;",
    "    next hop self;",
    ...renderExport(session).map((line) => `    ${line}`),
    "  };",
    "}",
  ].join("\n");
}

function renderExport({ med, communities }: ReadySession): string[] {
  const actions = [
    ...(med === undefined ? [] : [`bgp_med = ${med};`]),
    ...communities.map((text) => {
      const parts = text.split(":");
      const attribute = parts.length === 2 ? "bgp_community" : "bgp_large_community";
      return `${attribute}.add((${parts.join(",")}));`;
    }),
  ];
  if (actions.length === 0) return ["export all;"];
  return ["export filter {", ...actions.map((action) => `  ${action}`), "  accept;", "};"];
}
