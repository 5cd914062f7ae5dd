/**
 * Probes the dataplanes of this node's peers (docs/dataplane.md, "Probes") and tells which of them forward. One UDP socket at
 * the node's own address; what an answer means is in peer-liveness.ts.
 */
import { randomBytes } from "node:crypto";
import { startTaskLoop } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import { LOSSY_SILENCE, noteAnswer, type PeerLiveness, tick, UNPROBED, type View } from "./peer-liveness.ts";
import { decodeProbe, encodeProbe } from "./probe-packet.ts";
import { keepProbeSocket } from "./probe-socket.ts";

/** Between two ticks, where there are few peers. */
export const PROBE_INTERVAL_MS = 40;
/** A large cell is probed less often: at most 2,500 probes a second. */
const INTERVAL_PER_PEER_MS = 0.4;

/** Who is probed, and from where. */
export interface ProbeTargets {
  /** The node's own address, in dotted-quad notation. */
  readonly address: string;
  /** The VXLAN port of the cell. */
  readonly port: number;
  readonly peers: readonly { readonly name: string; readonly address: string }[];
}

export interface PeerProberOptions {
  readonly logger: AgentLogger;
  /** Called after the set of peers that are alive has changed. */
  readonly onChange: () => void;
  /** Told at every tick: the addresses of the peers that are dead in the eyes of this node. */
  readonly onVerdict?: (dead: readonly string[]) => void;
  /** Told of each peer that is seen in another way than before. */
  readonly onView?: (peer: string, view: View) => void;
  readonly intervalMs?: number;
}

export interface PeerProber {
  /** Sets whom to probe from now on; what is known about peers that stay is kept. */
  follow(targets: ProbeTargets): void;
  /** Names of the peers whose dataplane answers, sorted. */
  alive(): readonly string[];
  /** There are several peers, and all of them are dead in the eyes of this node: it may be cut off. */
  isolated(): boolean;
  close(): Promise<void>;
}

export function startPeerProber(options: PeerProberOptions): PeerProber {
  const { logger, onChange, onVerdict, onView, intervalMs = PROBE_INTERVAL_MS } = options;
  // Answers to an earlier agent's probes, or made up by somebody, do not carry this run's number.
  const run = randomBytes(4).readUInt32BE();
  const peers = keepPeers(logger, onChange, onView);
  let targets: ProbeTargets | undefined;
  let sequence = 0;

  const socket = keepProbeSocket(logger, (message, from) => {
    const probe = decodeProbe(message);
    if (!targets || probe?.run !== run || from.port !== targets.port) return;
    const age = (sequence - probe.sequence) >>> 0;
    if (age > LOSSY_SILENCE) return;
    const { address } = from;
    peers.judge((peer, at) => (at === address ? noteAnswer(peer) : peer));
  });

  const loop = startTaskLoop(async () => {
    if (!targets) return intervalMs;
    const { address, port } = targets;
    const open = await socket.bound(address);
    if (sequence > 0) peers.judge(tick);
    onVerdict?.(peers.dead());
    sequence = (sequence + 1) >>> 0;
    const packet = encodeProbe({ run, sequence });
    // A probe that cannot even be sent (no socket, no route, no buffer) is a probe without an answer.
    for (const peer of targets.peers) open?.send(packet, port, peer.address, () => {});
    return Math.max(intervalMs, INTERVAL_PER_PEER_MS * targets.peers.length);
  });

  return {
    follow(next) {
      targets = next;
      peers.set(next.peers);
    },
    alive: peers.alive,
    isolated: peers.isolated,
    async close() {
      await loop.stop();
      socket.close();
    },
  };
}

/** The peers and what is known of each. */
function keepPeers(logger: AgentLogger, onChange: () => void, onView: PeerProberOptions["onView"]) {
  const peers = new Map<string, { readonly address: string; readonly liveness: PeerLiveness }>();
  let announced = "";

  const seenAs = (view: View) => [...peers].filter(([, peer]) => peer.liveness.view === view);
  const alive = (): string[] =>
    seenAs("alive")
      .map(([name]) => name)
      .sort();
  const announce = (): void => {
    const names = alive().join(" ");
    if (names === announced) return;
    announced = names;
    onChange();
  };
  return {
    alive,
    dead: (): string[] => seenAs("dead").map(([, peer]) => peer.address),
    isolated: (): boolean => peers.size > 1 && seenAs("dead").length === peers.size,
    set(wanted: ProbeTargets["peers"]): void {
      const names = new Set(wanted.map((p) => p.name));
      for (const name of peers.keys()) if (!names.has(name)) peers.delete(name);
      for (const { name, address } of wanted) {
        if (peers.get(name)?.address !== address) peers.set(name, { address, liveness: UNPROBED });
      }
      announce();
    },
    judge(verdict: (liveness: PeerLiveness, address: string) => PeerLiveness): void {
      const changed: (readonly [string, View])[] = [];
      for (const [name, peer] of peers) {
        const liveness = verdict(peer.liveness, peer.address);
        if (liveness === peer.liveness) continue;
        peers.set(name, { ...peer, liveness });
        if (liveness.view === peer.liveness.view) continue;
        changed.push([name, liveness.view]);
        const word = liveness.view === "alive" ? "answers" : "does not answer";
        logger.info({ peer: name, address: peer.address }, `the dataplane of peer ${name} ${word} probes`);
      }
      if (changed.length > 0) announce();
      for (const [name, view] of changed) onView?.(name, view);
    },
  };
}
