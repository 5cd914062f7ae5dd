/** What a running BIRD says about its sessions and routes, read from its answers. Pure. */
import type { BirdLine } from "./bird-control.ts";

export interface BirdSession {
  /** The state of RFC 4271, section 8: Idle, Connect, Active, OpenSent, OpenConfirm or Established. */
  readonly state: string;
  /** What went wrong last, in BIRD's words; empty when nothing did. */
  readonly lastError: string;
}

/** Name of each BGP protocol → its session, from the answer to `show protocols all`. */
export function readSessions(answer: readonly BirdLine[]): ReadonlyMap<string, BirdSession> {
  const sessions = new Map<string, BirdSession>();
  let name = "";
  for (const { code, text } of answer) {
    if (code === 1002) {
      const [word = "", kind, , state] = text.trim().split(/\s+/);
      name = kind === "BGP" ? word : "";
      // A protocol that somebody has disabled has no state of BGP.
      if (name) sessions.set(name, { state: state === "down" ? "Down" : "Idle", lastError: "" });
    }
    const session = sessions.get(name);
    if (code !== 1006 || !session) continue;
    const [, key, value = ""] = /^\s*(BGP state|Last error):\s*(.*)$/.exec(text) ?? [];
    if (key === "BGP state") sessions.set(name, { ...session, state: value.trim() });
    if (key === "Last error") sessions.set(name, { ...session, lastError: value.trim() });
  }
  return sessions;
}

/** The prefixes in an answer to `show route` that come from a protocol whose name ends like this. */
export function readPrefixes(answer: readonly BirdLine[], protocolSuffix: string): string[] {
  const prefixes = new Set<string>();
  let prefix = "";
  for (const { code, text } of answer) {
    // A further route to the same prefix stands in a line without it.
    const [, own, protocol] = /^(\d\S*\/\d+)?\s+.*\[(\S+) /.exec(text) ?? [];
    prefix = own ?? prefix;
    if (code === 1007 && protocol?.endsWith(protocolSuffix)) prefixes.add(prefix);
  }
  return [...prefixes];
}

/** The value of a text constant in the answer to `eval`; undefined when there is no such constant. */
export function readConstant(answer: readonly BirdLine[]): string | undefined {
  return answer.find(({ code }) => code === 23)?.text.trim();
}

interface SessionTerms {
  readonly name: string;
  readonly peer: string;
  readonly peerAs: number;
  readonly localAs: number;
  readonly bfd: boolean;
  readonly password: string | undefined;
}

/** One sentence about a session for an operator: what it is, what is wrong, what to check. */
export function explainSession(session: SessionTerms, { state, lastError }: BirdSession): string {
  const { name, peer, peerAs } = session;
  const title = `BGP session ${name} to ${peer} AS ${peerAs}: ${state}`;
  if (state === "Established") return title;
  return `${title}, ${lastError || "no error yet"}; ${adviceFor(session, state, lastError)}`;
}

function adviceFor(session: SessionTerms, state: string, lastError: string): string {
  const { peer, peerAs, localAs, bfd, password } = session;
  const secret = password === undefined ? "no password" : "the same password";
  const terms = `this node as a neighbour with AS ${localAs} and ${secret}`;
  if (state === "Down") return "somebody has disabled it in BIRD; it is enabled again by itself";
  if (/BFD/.test(lastError)) {
    return `check the cable, and that ${peer} has BFD on for this node (or set bfd: false on both ends)`;
  }
  if (/peer AS/.test(lastError)) {
    return `check which AS ${peer} has, and that peerAs ${peerAs} and localAs ${localAs} are what it expects`;
  }
  if (/refused/.test(lastError)) return `check that BGP runs on ${peer} and that it has ${terms}`;
  if (/reset|closed|Received:/.test(lastError)) {
    return `${peer} ended it: check that it has ${terms}, and that its own AS is ${peerAs}`;
  }
  if (/route|unreachable|[Nn]eighbor/.test(lastError) || state === "Idle") {
    return `check the cable and that an interface of this node is in the subnet of ${peer}`;
  }
  return `check that ${peer} answers and has ${terms}${bfd ? ", and BFD" : ""}; packets with another password are dropped without a word`;
}
