/**
 * The XDP program in a sandbox laid out as the model's worlds are, played step by step like the model: the same scenarios go into
 * both, and what comes out is compared.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatAddress } from "../../model/ipv4.ts";
import { swap16, swap32 } from "../btf.ts";
import { readCounters, readGatewayCounters } from "../counter-list.ts";
import { writeDeadNodes } from "../dead-nodes.ts";
import {
  type KernelMaps,
  readAddresses,
  readConfig,
  readNodes,
  readSweeper,
  uint32Key,
  writeArray,
  writeConfig,
} from "../kernel-maps.ts";
import { type Codecs, readCodecs } from "../layouts.ts";
import * as bpf from "../libbpf.ts";
import type { Counter, PairEnd, Role } from "../model/state.ts";
import { INTERFACE, MAC, nodeConfigOf, PLAN, PORT_KEY, type World } from "../model/world.ts";
import { ensurePinFolder, loadOnMaps } from "../pinned-maps.ts";
import { reconcileMaps } from "../reconcile-maps.ts";
import { readSessionRows } from "../session-list.ts";
import { openSessionEvents, type SessionEvent } from "../session-log.ts";
import { ip, type Sandbox } from "./sandbox.ts";

const OBJECT = join(import.meta.dirname, "../../../build/natto.bpf.o");
const BENCH_OBJECT = join(import.meta.dirname, "../../../build/bench.bpf.o");
export const VERDICTS = ["aborted", "drop", "kernel", "transmit", "redirect"] as const;

/** Makes the interfaces, routes and neighbours of the plan (src/dataplane/model/world.ts). */
export function layOutNetwork(): void {
  const interfaces = Object.entries(INTERFACE);
  ip([
    ...interfaces.flatMap(([name, index], i) => [
      `link add ${name} index ${index} address ${MAC.node} type veth peer name peer${i}`,
      `link set ${name} up`,
      `link set peer${i} up`,
      `addr add 192.0.2.${i * 8 + 1}/29 dev ${name}`,
      `neigh add 192.0.2.${i * 8 + 2} lladdr ${MAC.gateway} dev ${name}`,
    ]),
    `route add ${PLAN.endpoints}/24 via 192.0.2.2`,
    `route add ${PLAN.silentEndpoints}/24 via 192.0.2.3`,
    `route add ${PLAN.remotes}/24 via 192.0.2.10`,
    `route add ${PLAN.publics}/24 via 192.0.2.10`,
    `route add ${PLAN.silentRemotes}/24 via 192.0.2.11`,
    `route add ${PLAN.nodes}/25 via 192.0.2.18`,
    `route add ${PLAN.silentNodes}/25 via 192.0.2.19`,
    "route add prohibit default",
  ]);
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  // The kernel takes an interface as a test packet's only when a program is attached to it.
  const anyProgram = bpf.loadObject(BENCH_OBJECT, { maxEntries: {}, reuse: {} }).programFd("bench_sink");
  for (const [name, index] of interfaces) bpf.createXdpLink(anyProgram, index, name);
}

let localAddress: number | undefined;

/** Makes a node's address this network namespace's own, in place of the one before. */
function setLocalAddress(address: number): void {
  if (address === localAddress) return;
  if (localAddress !== undefined) ip([`addr del ${formatAddress(localAddress)}/32 dev lo`]);
  ip([`addr add ${formatAddress(address)}/32 dev lo`]);
  localAddress = address;
}

export interface ProgramRun {
  readonly verdict: (typeof VERDICTS)[number];
  readonly packet: Buffer;
  /** What each counter grew by, if it grew. */
  readonly counters: Readonly<Partial<Record<Counter, number>>>;
}

export interface ProgramUnderTest {
  /** Forgets all flows and takes on a world and a place in it, at time 0. */
  reset(world: World, node: number): void;
  /** The node need not stand down any more. */
  confirm(): void;
  /** Takes on a changed world. */
  reprogram(world: World, node: number): void;
  run(role: Role | PairEnd, frame: Buffer): ProgramRun;
  /** Moves the clock to a time (ms since `reset`) and sweeps; returns how many sessions, and held fragments, expired. */
  sweep(now: number): { readonly expired: number; readonly lostFragments: number };
  /** The same, of sessions alone. */
  sweepAt(now: number): number;
  /** What the counters by gateway have grown by since `reset`, summed over all gateways. */
  countedByGateway(): Readonly<Partial<Record<Counter, number>>>;
  /** What the program has logged since it was asked last. */
  logged(): readonly SessionEvent[];
  /** Live sessions as text, sorted. */
  sessions(): readonly string[];
  close(): void;
}

/** The index of `lo`, in any network namespace. */
const LOOPBACK = 1;

/** Loads the program with room for `maxRecords`. */
export function loadProgram(sandbox: Sandbox, maxRecords: number): ProgramUnderTest {
  const folder = join(sandbox.bpffs, `room${maxRecords}`);
  ensurePinFolder(folder);
  const codecs = readCodecs(OBJECT);
  const { object, maps } = loadOnMaps(OBJECT, folder, maxRecords);
  // What is to circulate must have somewhere to go, though in a test run it goes nowhere.
  for (const end of [0, 1]) bpf.update(maps.held_ends.fd, uint32Key(end), uint32Key(LOOPBACK));
  let startedAt = 0n;
  let countedAtReset: Counts = {};
  const events = openSessionEvents(maps, codecs);

  const reprogram = (world: World, node: number) => {
    reconcileMaps(maps, codecs, nodeConfigOf(world, node), world.nodes[node]!.name, [], 0);
    const dead = (world.dead ?? []).flatMap((n) =>
      n === node ? [] : formatAddress(world.nodes[n]!.address),
    );
    const hour = 3_600_000_000_000n;
    writeDeadNodes(maps, dead, process.hrtime.bigint() + hour);
  };
  const sweep: ProgramUnderTest["sweep"] = (now) => {
    const before = readCounters(maps, codecs);
    const passed = process.hrtime.bigint() - startedAt;
    const clock_offset = BigInt(now) * 1_000_000n - passed;
    writeConfig(maps, codecs, {
      ...readConfig(maps, codecs),
      clock_offset: clock_offset > 0n ? clock_offset : 0n,
    });
    bpf.testRun(object.programFd("natto_sweep_all"), Buffer.alloc(64));
    const counts = difference(before, readCounters(maps, codecs));
    return { expired: counts.sessions_expired ?? 0, lostFragments: counts.fragments_expired ?? 0 };
  };
  return {
    reprogram,
    confirm: () => writeConfig(maps, codecs, { ...readConfig(maps, codecs), stands_down: 0 }),
    sweep,
    reset(world, node) {
      clearFlows(maps, codecs);
      setLocalAddress(world.nodes[node]!.address);
      const [port_key0, port_key1] = PORT_KEY;
      const config = readConfig(maps, codecs);
      writeConfig(maps, codecs, { ...config, clock_offset: 0n, stands_down: 0, port_key0, port_key1 });
      reprogram(world, node);
      const known = 1 + Math.max(0, ...readNodes(maps).keys());
      writeArray(maps.contacts, 0, Buffer.alloc(maps.contacts.info.valueSize * known));
      startedAt = process.hrtime.bigint();
      countedAtReset = sumOverGateways(maps, codecs);
    },
    run(role, frame) {
      const before = readCounters(maps, codecs);
      const ifindex = role === "outside" ? INTERFACE.outside : INTERFACE.inside;
      const result = bpf.testRun(object.programFd(`natto_${role}`), frame, { ifindex });
      return {
        verdict: VERDICTS[result.verdict]!,
        packet: result.packet,
        counters: difference(before, readCounters(maps, codecs)),
      };
    },
    sweepAt: (now) => sweep(now).expired,
    countedByGateway: () => difference(countedAtReset, sumOverGateways(maps, codecs)),
    logged: () => events.read(),
    sessions: () => readSessions(maps, codecs),
    close: () => {
      events.close();
      object.close();
    },
  };
}

function clearFlows(maps: KernelMaps, codecs: Codecs): void {
  for (const { fd, info } of [
    maps.flows,
    maps.endpoints,
    maps.crowds,
    maps.datagrams,
    maps.waiting,
    maps.held_fragments,
  ]) {
    const { count, keys } = bpf.readEntries(fd, info);
    const size = info.keySize;
    for (let i = 0; i < count; i++) bpf.remove(fd, keys.subarray(i * size, (i + 1) * size));
  }
  bpf.drain(maps.free_records.fd);
  const { info } = maps.fragment_shares;
  writeArray(maps.fragment_shares, 0, Buffer.alloc(info.maxEntries * info.valueSize));
  const row = { ...readSweeper(maps, codecs), cursor: 0, high_water: 0, in_use: 0 };
  bpf.update(maps.sweeper.fd, uint32Key(0), codecs.sweeper.encode(row));
}

function sumOverGateways(maps: KernelMaps, codecs: Codecs): Counts {
  const indices = new Set([...readAddresses(maps, codecs).values()].map(({ gateway }) => gateway));
  const sums: Counts = {};
  for (const index of indices) {
    for (const [name, { packets }] of Object.entries(readGatewayCounters(maps, codecs, index) ?? {})) {
      sums[name as Counter] = (sums[name as Counter] ?? 0) + packets;
    }
  }
  return sums;
}

type Counts = Partial<Record<Counter, number>>;

function difference(before: Counts, after: Counts): Counts {
  const grown = (Object.keys(after) as Counter[]).map(
    (name) => [name, after[name]! - before[name]!] as const,
  );
  return Object.fromEntries(grown.filter(([, by]) => by !== 0));
}

function readSessions(maps: KernelMaps, codecs: Codecs): string[] {
  const end = (address: number, port: number) => `${formatAddress(swap32(address))}:${swap16(port)}`;
  return readSessionRows(maps, codecs)
    .map(
      (row) =>
        `${row.protocol_network & 0xff} ${end(row.inside_address, row.inside_port)} ${end(row.public_address, row.public_port)} ${end(row.remote_address, row.remote_port)}`,
    )
    .sort();
}
