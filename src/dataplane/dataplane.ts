/**
 * The dataplane as the agent sees it. One call makes it so: `ensure`. It compares what should be with what is in the kernel and
 * mends the difference, so boot, change and repair are one code path, and running it twice changes nothing.
 */
import type { NodeConfig } from "../model/node-config.ts";
import type { Count } from "./counter-list.ts";
import type { SessionEvents } from "./session-log.ts";
import type { UsageRecord } from "./usage-tally.ts";

export interface DataplaneOptions {
  /** This node's name, as it stands in NodeConfigs. */
  readonly node: string;
  /** A folder on a mounted BPF file system; Natto's pins live directly in it. No dot may be in the path (libbpf). */
  readonly pinFolder: string;
  /** A folder that survives reboots, for what must be given back at clean-up (sysctls). */
  readonly stateFolder: string;
  /** Size of the session table. Fixed when the maps are made: changing it means `cleanup` first. */
  readonly maxSessions: number;
}

/** One difference that was found and mended. */
export interface Repair {
  /** Stable word: `attach`, `program`, `map`, `guard`, `sysctl`, `sweeper`. */
  readonly what: "attach" | "program" | "map" | "guard" | "sysctl" | "sweeper";
  /** For people. */
  readonly detail: string;
}

export interface EnsureReport {
  /** Everything that was not as it should be and now is; on a first run or a new configuration, everything that changed. */
  readonly repairs: readonly Repair[];
}

export interface DataplaneStatus {
  /** Packets by counter, by the names of docs/dataplane.md. */
  readonly counters: Readonly<Record<string, number>>;
  /** Entries of the session table: sessions, and the mappings and permissions that they need. */
  readonly sessions: { readonly used: number; readonly capacity: number };
  /** Slots that are another node's by now while their ports are still this one's, and the sessions in them. */
  readonly lent?: { readonly slots: number; readonly sessions: number };
}

/** A live session, as read from the records. */
export interface Session {
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly inside: { readonly address: string; readonly port: number };
  readonly public: { readonly address: string; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number };
  /** Seconds since the last packet in each direction; undefined when there was none. */
  readonly idleOut: number | undefined;
  readonly idleIn: number | undefined;
}

export interface Dataplane {
  /**
   * Makes the kernel agree with the configuration: guard, sysctls, program, maps, attachment, sweeper, in that order. Throws
   * `Environment` when something is missing on the machine (an interface, a privilege); what could be done is done by then.
   */
  ensure(config: NodeConfig["spec"]): Promise<EnsureReport>;
  /**
   * Says which peers (addresses in dotted-quad notation) are dead in the eyes of this node, and all others alive: packets for the slots of a dead
   * one are steered to its backup. It holds for a few seconds, so it has to be said again and again.
   */
  setDead(addresses: readonly string[]): void;
  /** This node was away, or cut off: for a while its backups may know flows of its slots. */
  noteReturn(): void;
  /** Whether this node stands down: it was out of its peers' reach, and has nothing of its own until it is told to. */
  standsDown(): boolean;
  /** What the dataplane runs is what is declared now: it may act by it again. */
  standUp(): void;
  status(): DataplaneStatus;
  /** All live sessions, a part at a time: the caller lets others run in between. */
  sessions(): Iterable<readonly Session[]>;
  /** What tells which ports are in use, a part at a time. */
  usageRecords(): Iterable<readonly UsageRecord[]>;
  /** The counters by gateway (`namespace/name`), of what happened in slots of this node. */
  gatewayCounters(config: NodeConfig["spec"]): ReadonlyMap<string, Readonly<Record<string, Count>>>;
  /** Starts to read the beginnings and ends of sessions, of gateways that log them. There must be one reader at a time. */
  sessionEvents(): SessionEvents;
  /** Lets go of the kernel objects; forwarding goes on. */
  close(): void;
}

/*
 * `openDataplane(options): Dataplane` and `cleanupDataplane(options): Promise<string[]>` (removes everything that was ever
 * made, gives sysctls back, says what it removed) are in xdp-dataplane.ts.
 */
