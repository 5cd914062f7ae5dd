/** The routing of a node as the agent sees it: an interface with two drivers, one that runs BIRD and one that keeps routes for another daemon. */
import type { NodeConfig } from "../model/node-config.ts";
import type { RoutingConfig, Side } from "../model/routing.ts";
import type { Announcements } from "./announcements.ts";

/** What is to be announced, to whom and by which means. */
export interface RoutingWish {
  readonly routing: RoutingConfig;
  readonly node: NodeConfig["spec"]["node"];
  readonly announce: Announcements;
}

export interface SessionReport {
  readonly name: string;
  readonly side: Side;
  /** Empty when it could not be told. */
  readonly peer: string;
  readonly peerAs: number;
  readonly up: boolean;
  /** One word: the state of RFC 4271, section 8, or `Unconfigured` when the session could not be set up. */
  readonly state: string;
  /** For people: what the session is, what is wrong with it, and what to do. */
  readonly message: string;
}

export interface RouterReport {
  /** What neighbours are told now, or what the tables hold for another daemon. */
  readonly announced: Announcements;
  readonly sessions: readonly SessionReport[];
}

export interface Router {
  /**
   * Makes what is announced agree with the wish, and says what was changed: nothing when it did already. With no wish nothing is announced and
   * nothing is left running. Sessions that need no change stay up. Throws `Environment` (BIRD is not installed, a privilege is missing) or
   * `Unavailable` (it does not answer); what was announced before then stands.
   */
  ensure(wish: RoutingWish | undefined): Promise<readonly string[]>;
  /** What is announced now, whoever arranged it: also what an earlier agent left. Throws `Unavailable`. */
  observe(wish: RoutingWish | undefined): Promise<RouterReport>;
}
