/**
 * Probes the dataplanes of this node's peers (docs/dataplane.md, "Probes") and tells which of them forward. One UDP socket at
 * the node's own address; what an answer means is in peer-liveness.ts.
 */
import { randomBytes } from "node:crypto";
import { startTaskLoop } from "../task-loop.ts";
import type { AgentLogger } from "./agent-logger.ts";
import {
  expireProbes,
  forgetProbes,
  type PeerLiveness,
  PROBE_TIMEOUT_MS,
  probeAnswered,
  probeSent,
  UNPROBED,
} from "./peer-liveness.ts";
import { decodeProbe, encodeProbe } from "./probe-packet.ts";
import { keepProbeSocket } from "./probe-socket.ts";

export const PROBE_INTERVAL_MS = 250;

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
  readonly intervalMs?: number;
  /** Milliseconds of a clock that only goes forward. */
  readonly now?: () => number;
}

export interface PeerProber {
  /** Sets whom to probe from now on; what is known about peers that stay is kept. */
  follow(targets: ProbeTargets): void;
  /** Names of the peers whose dataplane answers, sorted. */
  alive(): readonly string[];
  close(): Promise<void>;
}

export function startPeerProber(options: PeerProberOptions): PeerProber {
  const { logger, onChange, intervalMs = PROBE_INTERVAL_MS, now = () => performance.now() } = options;
  // Answers to an earlier agent's probes, or made up by somebody, do not carry this run's number.
  const run = randomBytes(4).readUInt32BE();
  const peers = keepPeers(logger, onChange);
  let targets: ProbeTargets | undefined;
  let sequence = 0;
  let lastTick = Number.NEGATIVE_INFINITY;

  const socket = keepProbeSocket(logger, (message, from) => {
    const probe = decodeProbe(message);
    if (!targets || probe?.run !== run || from.port !== targets.port) return;
    const { address } = from;
    peers.judge((peer, at) => (at === address ? probeAnswered(peer, probe.sequence, now()) : peer));
  });

  const loop = startTaskLoop(async () => {
    if (!targets) return intervalMs;
    const { address, port } = targets;
    const open = await socket.bound(address);
    const time = now();
    const stalled = time - lastTick > intervalMs + PROBE_TIMEOUT_MS;
    lastTick = time;
    peers.judge((peer) => (stalled ? forgetProbes(peer) : expireProbes(peer, time)));
    sequence = (sequence + 1) >>> 0;
    const packet = encodeProbe({ run, sequence });
    peers.judge((peer, peerAddress) => {
      // A probe that cannot even be sent (no socket, no route, no buffer) is a probe without an answer.
      open?.send(packet, port, peerAddress, () => {});
      return probeSent(peer, sequence, time);
    });
    return intervalMs;
  });

  return {
    follow(next) {
      targets = next;
      peers.set(next.peers);
    },
    alive: peers.alive,
    async close() {
      await loop.stop();
      socket.close();
    },
  };
}

/** The peers and what is known of each. */
function keepPeers(logger: AgentLogger, onChange: () => void) {
  const peers = new Map<string, { readonly address: string; readonly liveness: PeerLiveness }>();
  let announced = "";

  const alive = (): string[] =>
    [...peers]
      .filter(([, peer]) => peer.liveness.alive)
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
    set(wanted: ProbeTargets["peers"]): void {
      const names = new Set(wanted.map((p) => p.name));
      for (const name of peers.keys()) if (!names.has(name)) peers.delete(name);
      for (const { name, address } of wanted) {
        if (peers.get(name)?.address !== address) peers.set(name, { address, liveness: UNPROBED });
      }
      announce();
    },
    judge(verdict: (liveness: PeerLiveness, address: string) => PeerLiveness): void {
      let changed = false;
      for (const [name, peer] of peers) {
        const liveness = verdict(peer.liveness, peer.address);
        if (liveness === peer.liveness) continue;
        peers.set(name, { ...peer, liveness });
        if (liveness.alive === peer.liveness.alive) continue;
        changed = true;
        const word = liveness.alive ? "answers" : "no longer answers";
        logger.info({ peer: name, address: peer.address }, `the dataplane of peer ${name} ${word} probes`);
      }
      if (changed) announce();
    },
  };
}
