/** From the sessions as they are declared to what a routing daemon can be told: peers found, passwords read, or a word about what is missing. Pure. */
import { address, type Cidr, formatAddress, netmask } from "../model/ipv4.ts";
import type { BirdRouting, RoutingSession, Side } from "../model/routing.ts";

/** An interface of the node with its first IPv4 address. */
export interface InterfaceAddress {
  readonly interface: string;
  readonly address: string;
  /** Prefix length. */
  readonly bits: number;
}

export type PasswordRead =
  | { readonly found: "password"; readonly password: string }
  | { readonly found: "problem"; readonly problem: string };

/** A session that can be set up. */
export interface ReadySession extends Omit<RoutingSession, "peer" | "localAs" | "passwordFile"> {
  readonly peer: string;
  readonly localAs: number;
  readonly password: string | undefined;
}

/** A session that cannot be set up on this node, and why, with what to do. */
export interface UnreadySession {
  readonly name: string;
  readonly side: Side;
  readonly peer: string;
  readonly peerAs: number;
  readonly problem: string;
}

export interface ResolvedSessions {
  readonly ready: readonly ReadySession[];
  readonly unready: readonly UnreadySession[];
}

export interface SessionContext {
  readonly interfaces: { readonly inside: string; readonly outside: string };
  readonly addresses: readonly InterfaceAddress[];
  readonly readPassword: (file: string) => PasswordRead;
}

/** Sorts out the sessions of a routing. */
export function resolveSessions(routing: BirdRouting, context: SessionContext): ResolvedSessions {
  const ready: ReadySession[] = [];
  const unready: UnreadySession[] = [];
  for (const { peer: declared, localAs = routing.localAs, passwordFile, ...session } of routing.sessions) {
    const peer = declared ?? otherEnd(session.side, context);
    const read = passwordFile === undefined ? undefined : context.readPassword(passwordFile);
    const { name, side, peerAs } = session;
    const fail = (problem: string): number =>
      unready.push({ name, side, peer: declared ?? "", peerAs, problem });
    if (typeof peer === "object") fail(peer.problem);
    else if (read?.found === "problem") fail(read.problem);
    else {
      const twin = ready.find((other) => other.peer === peer);
      if (twin) fail(`its peer ${peer} is that of session ${twin.name}; have one session, with side 'both'`);
      else ready.push({ ...session, peer, localAs, password: read?.password });
    }
  }
  return { ready, unready };
}

/** The router at the other end of the interface of that side, if the subnet leaves no choice: a /31 (RFC 3021) or a /30. */
function otherEnd(side: Side, context: SessionContext): string | { readonly problem: string } {
  const name = side === "outside" ? context.interfaces.outside : context.interfaces.inside;
  const own = context.addresses.find((a) => a.interface === name);
  const remedy = "give the session its peer";
  if (!own) return { problem: `interface ${name} has no IPv4 address to tell the router's from; ${remedy}` };
  const block: Cidr = {
    first: (address(own.address) & netmask(own.bits)) >>> 0,
    bits: own.bits,
  };
  const offsets = { 31: [0, 1], 30: [1, 2] }[own.bits];
  const hosts = offsets?.map((offset) => formatAddress(block.first + offset));
  const other = hosts?.find((host) => host !== own.address);
  return (
    other ?? {
      problem: `interface ${name} has ${own.address}/${own.bits}, a subnet of more than two hosts, so the router's address cannot be told; ${remedy}`,
    }
  );
}

/** The first line of a password file, judged. */
export function judgePassword(file: string, text: string): PasswordRead {
  const password = text.split("\n")[0] ?? "";
  const problem = !/^[\x21-\x7e]+$/.test(password)
    ? "has no password in its first line, or one with blanks or characters beyond ASCII"
    : /["\\]/.test(password)
      ? `has a password with '"' or '\\', which BIRD does not take`
      : password.length > 80
        ? "has a password of more than 80 characters, the most that the kernel takes (RFC 2385)"
        : undefined;
  return problem
    ? { found: "problem", problem: `${file} ${problem}; write another one` }
    : { found: "password", password };
}
