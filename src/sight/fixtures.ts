/** What tests of this folder share. */
import type { Session } from "../dataplane/dataplane.ts";
import type { ReportedSession } from "./session-report.ts";

/** A session of an endpoint of gateway team-a/web. */
export function aSession(change: Partial<ReportedSession>): ReportedSession {
  return {
    gateway: "team-a/web",
    slot: 1,
    protocol: "tcp",
    inside: { address: "10.0.0.11", port: 40_000 },
    public: { address: "203.0.113.10", port: 2345 },
    remote: { address: "198.51.100.7", port: 443 },
    ...change,
  };
}

/** The same as a node's dataplane has it. */
export function heldSession(change: Partial<ReportedSession> = {}): Session {
  const { protocol, inside, public: outside, remote, idleOut, idleIn } = aSession(change);
  return { protocol, inside, public: outside, remote, idleOut, idleIn };
}
