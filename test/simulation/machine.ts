/**
 * A machine of the NAT fleet in a simulation: its dataplane, its disk, and the agent's real loops on virtual time. What the dataplane
 * is programmed with survives the agent; the disk survives the machine.
 */
import { type AgentParts, startAgentLoops } from "../../src/agent/agent-loops.ts";
import { recordingDataplane } from "../../src/agent/fixtures.ts";
import { noteAnswer, type PeerLiveness, tick, UNPROBED, type View } from "../../src/agent/peer-liveness.ts";
import type { PeerProber, PeerProberOptions, ProbeTargets } from "../../src/agent/peer-prober.ts";
import type { SnapshotDisk } from "../../src/agent/snapshot-keeper.ts";
import type { Dataplane, DataplaneStatus } from "../../src/dataplane/dataplane.ts";
import { type ModelConfig, modelConfig } from "../../src/dataplane/model/state.ts";
import { NattoError } from "../../src/errors.ts";
import { address } from "../../src/model/ipv4.ts";
import type { NodeConfig } from "../../src/model/node-config.ts";
import { pause } from "../../src/store/pause.ts";
import type { Store } from "../../src/store/store.ts";
import { startTaskLoop } from "../../src/task-loop.ts";
import type { Random } from "../chaos/random.ts";
import { type Network, remoteStore } from "./network.ts";
import { SILENT } from "./silence.ts";
import type { SimProcess, VirtualTime } from "./virtual-time.ts";

export interface Machine {
  readonly name: string;
  powered(): boolean;
  /** What its dataplane forwards by; undefined: nothing. */
  programmed(): NodeConfig["spec"] | undefined;
  /** The addresses of the nodes that it steers around. The same list as long as they are the same. */
  steersAround(): readonly string[];
  /** By which it decides whose a packet is; undefined: it forwards nothing. The same value as long as nothing of it changes. */
  model(): ModelConfig | undefined;
  /** The agent's process, if there is one. */
  agent(): SimProcess | undefined;
  startAgent(): void;
  killAgent(): void;
  powerOff(): void;
  /** While it is broken, the dataplane cannot be programmed. */
  breakDataplane(broken: boolean): void;
  dataplaneBroken(): boolean;
}

export interface MachineOptions {
  readonly name: string;
  readonly cell: string;
  /** Last part of its address. */
  readonly number: number;
  readonly store: Store;
  readonly time: VirtualTime;
  readonly network: Network;
  readonly random: Random;
  /** Whether the dataplane of a peer would answer a probe that gets there. */
  readonly answers: (peer: string) => boolean;
  /** Slots whose ports are this machine's, though they are others' by now, and the sessions in them. */
  readonly lent: () => NonNullable<DataplaneStatus["lent"]>;
  /** Its agent does not say whom it sees. */
  readonly mute: boolean;
  /** Told after what it forwards by has changed. */
  readonly onChange: () => void;
}

const MAX_PROGRAM_MS = 20;
/** Real agents look four times as often; what they see is judged by the number of looks. */
export const PROBE_MS = 160;
/** How long a machine that was away asks its backups for flows. */
const RETURNING_MS = 300_000;
/** How long the program believes that a peer is dead when nobody says so again. */
const VERDICT_MS = 3_000;
const NOBODY: readonly string[] = [];

export function simMachine(options: MachineOptions): Machine {
  const { name, cell, number, store, time, network, random, onChange } = options;
  let powered = true;
  let programmed: NodeConfig["spec"] | undefined;
  let agent: SimProcess | undefined;
  let broken = false;
  let dead: { readonly addresses: readonly string[]; readonly until: number } = {
    addresses: NOBODY,
    until: 0,
  };
  let returningUntil = 0;
  const snapshots = memoryDisk();
  const modelOf = keptModel(name);

  function dataplane({ clock }: SimProcess): Dataplane {
    const forever = new AbortController().signal;
    const recording = recordingDataplane();
    return {
      ...recording,
      status: () => ({ ...recording.status(), lent: options.lent() }),
      noteReturn: () => {
        returningUntil = time.now() + RETURNING_MS;
      },
      async ensure(spec) {
        await pause(random.between(0, MAX_PROGRAM_MS), forever, clock);
        if (broken) throw new NattoError("Environment", "the dataplane is broken");
        if (!powered || programmed === spec) return { repairs: [] };
        if (!programmed) returningUntil = time.now() + RETURNING_MS;
        programmed = spec;
        onChange();
        return { repairs: [] };
      },
      setDead: (addresses) => {
        const same = addresses.join() === dead.addresses.join();
        dead = { addresses: same ? dead.addresses : addresses, until: time.now() + VERDICT_MS };
      },
    };
  }

  function startAgent(): void {
    if (!powered || agent) return;
    const process = time.process();
    agent = process;
    const parts: AgentParts = {
      identity: {
        ...{ node: name, cell, labels: {} },
        address: `192.0.2.${number}`,
        interfaces: { inside: "in0", outside: "out0" },
      },
      store: remoteStore(store, name, process, network),
      dataplane: dataplane(process),
      snapshots,
      startProber: (proberOptions) => simProber(proberOptions, options, process),
      logger: SILENT,
      version: "simulated",
      fresh: programmed === undefined,
      clock: process.clock,
      random: () => random.between(0, 1),
    };
    void startAgentLoops(parts);
  }

  function killAgent(): void {
    agent?.kill();
    agent = undefined;
  }

  const steersAround = (): readonly string[] => (time.now() < dead.until ? dead.addresses : NOBODY);
  return {
    name,
    powered: () => powered,
    programmed: () => (powered ? programmed : undefined),
    steersAround,
    model: () =>
      powered && programmed ? modelOf(programmed, steersAround(), time.now() < returningUntil) : undefined,
    agent: () => agent,
    startAgent: () => {
      powered = true;
      startAgent();
    },
    killAgent,
    powerOff: () => {
      killAgent();
      powered = false;
      programmed = undefined;
      onChange();
    },
    breakDataplane: (on) => {
      broken = on;
    },
    dataplaneBroken: () => broken,
  };
}

/** The model's configuration of a machine, made anew only when something of it has changed. */
function keptModel(name: string) {
  let made: { readonly from: readonly unknown[]; readonly model: ModelConfig } | undefined;
  return (spec: NodeConfig["spec"], dead: readonly string[], returning: boolean): ModelConfig => {
    const from = [spec, dead, returning];
    if (!made || from.some((part, i) => part !== made?.from[i])) {
      const gone = new Set(dead.map(address));
      const model = modelConfig(spec, name, Number.MAX_SAFE_INTEGER, gone, undefined, returning);
      made = { from, model };
    }
    return made.model;
  };
}

function memoryDisk(): SnapshotDisk {
  let saved: NodeConfig | undefined;
  return {
    read: async () => (saved ? { found: "good", config: saved } : { found: "nothing" }),
    write: async (config) => {
      saved = config;
    },
  };
}

/** The agent's judgement of its peers, without a socket: a probe is answered at once or not at all. */
function simProber(
  { onChange, onVerdict }: PeerProberOptions,
  { name, network, answers, mute }: MachineOptions,
  { clock }: SimProcess,
): PeerProber {
  const peers = new Map<string, { readonly address: string; readonly liveness: PeerLiveness }>();
  let announced = "";
  const seenAs = (view: View) => [...peers].filter(([, { liveness }]) => liveness.view === view);
  const alive = (): string[] => seenAs("alive").map(([peer]) => peer);
  const look = (peer: string, before: PeerLiveness): PeerLiveness => {
    const answered = network.passes(name, peer) && answers(peer) && network.passes(peer, name);
    return tick(answered ? noteAnswer(before) : before);
  };
  const announce = (): void => {
    const names = alive().join();
    if (names === announced) return;
    announced = names;
    onChange();
  };
  const loop = startTaskLoop(
    async () => {
      for (const [peer, { address, liveness }] of peers) {
        peers.set(peer, { address, liveness: look(peer, liveness) });
      }
      announce();
      onVerdict?.(seenAs("dead").map(([, { address }]) => address));
      return PROBE_MS;
    },
    0,
    clock,
  );
  return {
    follow: ({ peers: wanted }: ProbeTargets) => {
      for (const peer of peers.keys()) if (!wanted.some((w) => w.name === peer)) peers.delete(peer);
      for (const { name: peer, address } of wanted) {
        if (!peers.has(peer)) peers.set(peer, { address, liveness: UNPROBED });
      }
      announce();
    },
    alive: () => (mute ? [] : alive()),
    isolated: () => peers.size > 1 && seenAs("dead").length === peers.size,
    close: loop.stop,
  };
}
