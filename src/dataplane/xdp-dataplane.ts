/** The dataplane of the kernel: program, maps, attachment, guard and settings, made so and kept so. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { NattoError } from "../errors.ts";
import { address } from "../model/ipv4.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { detach, ensureAttached, ROLES, type Role, rolesOf } from "./attachment.ts";
import { type Count, readCounters, readGatewayCounters } from "./counter-list.ts";
import type { Dataplane, DataplaneOptions, DataplaneStatus, EnsureReport, Repair } from "./dataplane.ts";
import { writeDeadNodes } from "./dead-nodes.ts";
import { createGuard, removeGuard, renderGuard } from "./guard.ts";
import { AGAIN, ensureHeldPair, ensureHeldPrograms, removeHeldPair } from "./held-pair.ts";
import {
  type KernelMaps,
  MAP_NAMES,
  readAddresses,
  readConfig,
  readSweeper,
  writeConfig,
} from "./kernel-maps.ts";
import { type Codecs, readCodecs } from "./layouts.ts";
import * as bpf from "./libbpf.ts";
import { describeTakeover, ensurePinFolder, loadOnMaps } from "./pinned-maps.ts";
import { ensurePortKey } from "./port-key.ts";
import { type RestingRange, reconcileMaps } from "./reconcile-maps.ts";
import { countSessionsIn, listSessions, listUsageRecords } from "./session-list.ts";
import { openSessionEvents } from "./session-log.ts";
import { ensureStages } from "./stages.ts";
import { ensureSysctls, restoreSysctls, wantedSysctls } from "./sysctls.ts";

const OBJECT_PATH = join(import.meta.dirname, "../../build/natto.bpf.o");

/** The sweeper ticks every 50 ms. */
const SWEEPER_SILENCE_NS = 1_000_000_000n;
/** A verdict that a peer is dead must not outlive the agent that it came from for long. */
const DEAD_FOR_NS = 5_000_000_000n;
/** How long flows that began with a backup are asked for there after a return: as long as a UDP flow lives by default. */
const RETURNING_NS = 300_000_000_000n;
/** The guard is looked at less often than the maps, since that starts a program. */
const GUARD_INTERVAL_MS = 3_000;

/**
 * Loads the program on the pinned maps (made if there are none). Nothing is attached before the first `ensure`. Throws
 * `Environment` when a privilege, a file system or the compiled program is missing, or when the pinned maps do not fit.
 */
export function openDataplane(options: DataplaneOptions): Dataplane {
  checkCompiled();
  const isFresh = !existsSync(join(options.pinFolder, "slots"));
  ensurePinFolder(options.pinFolder);
  mkdirSync(options.stateFolder, { recursive: true });
  const codecs = readCodecs(OBJECT_PATH);
  const { object, maps } = loadOnMaps(OBJECT_PATH, options.pinFolder, options.maxSessions);
  const noteReturn = (): void => {
    const returning_until = process.hrtime.bigint() + RETURNING_NS;
    writeConfig(maps, codecs, { ...readConfig(maps, codecs), returning_until });
  };
  if (isFresh) noteReturn();
  const guard = createGuard();
  let resting: readonly RestingRange[] = [];
  let someDead = false;
  let lent: ReadonlySet<number> = new Set();
  let wasReturning: boolean | undefined;
  let guardChecked: { readonly rules: string; readonly at: number } | undefined;
  let sweeperIsOurs = false;

  /** What starts programs, and so is looked at in full now and then only: the guard, and the pair of interfaces for held fragments. */
  const ensureGuard = (config: NodeConfig["spec"], roles: ReadonlyMap<Role, string>): Repair[] => {
    const rules = renderGuard([...roles.values(), AGAIN], enrolledSources(config));
    const now = performance.now();
    const isRecent = guardChecked?.rules === rules && now - guardChecked.at < GUARD_INTERVAL_MS;
    const pair = ensureHeldPair(!isRecent);
    if (isRecent) return pair;
    const repairs = [...guard.ensure(rules), ...pair];
    guardChecked = { rules, at: now };
    return repairs;
  };

  const ensureMaps = (config: NodeConfig["spec"]): readonly Repair[] => {
    const returning = process.hrtime.bigint() < readConfig(maps, codecs).returning_until;
    const now = performance.now();
    const reconciled = reconcileMaps(maps, codecs, config, options.node, resting, now, returning);
    resting = reconciled.resting;
    lent = reconciled.lent;
    const isOwnChange = wasReturning !== undefined && returning !== wasReturning;
    wasReturning = returning;
    return isOwnChange ? [] : reconciled.repairs;
  };

  const ensureSweeper = (): Repair[] => {
    const { last_run } = readSweeper(maps, codecs);
    const silence = process.hrtime.bigint() - last_run;
    if (sweeperIsOurs && silence < SWEEPER_SILENCE_NS) return [];
    // A program on any packet: 14 bytes of Ethernet are the least that the kernel takes.
    const { verdict } = bpf.testRun(object.programFd("natto_start_sweeper"), Buffer.alloc(64));
    if (verdict !== 2)
      throw new NattoError("Environment", "the kernel refused the timer of the session expiry");
    const detail = sweeperIsOurs
      ? "restarted the session expiry, which had stopped"
      : "session expiry runs this agent's version";
    sweeperIsOurs = true;
    return [{ what: "sweeper", detail }];
  };

  return {
    async ensure(config): Promise<EnsureReport> {
      const roles = rolesOf(config.node.interfaces);
      const repairs = [
        ...ensureGuard(config, roles),
        ...ensureSysctls(options.stateFolder, wantedSysctls([...roles.values(), AGAIN])),
        ...ensurePins(maps, options.pinFolder),
        ...ensurePortKey(maps, codecs, randomBytes),
        ...ensureMaps(config),
        ...ensureSweeper(),
        ...ensureStages(maps, (name) => object.programFd(name)),
        ...ensureHeldPrograms(options.pinFolder, maps, (name) => object.programFd(name)),
        ...ensureAttached(options.pinFolder, roles, (role) => object.programFd(`natto_${role}`)),
      ];
      return { repairs };
    },
    setDead(addresses) {
      if (addresses.length === 0 && !someDead) return;
      someDead = addresses.length > 0;
      writeDeadNodes(maps, addresses, process.hrtime.bigint() + DEAD_FOR_NS);
    },
    noteReturn,
    standsDown: () => readConfig(maps, codecs).stands_down !== 0,
    standUp: () => writeConfig(maps, codecs, { ...readConfig(maps, codecs), stands_down: 0 }),
    status: () => ({
      ...readStatus(maps, codecs),
      lent: { slots: lent.size, sessions: countSessionsIn(maps, codecs, lent) },
    }),
    sessions: () => listSessions(maps, codecs),
    sessionEvents: () => openSessionEvents(maps, codecs),
    usageRecords: () => listUsageRecords(maps, codecs),
    gatewayCounters: (config) => readAllGatewayCounters(maps, codecs, config),
    close: () => object.close(),
  };
}

function checkCompiled(): void {
  if (existsSync(OBJECT_PATH)) return;
  throw new NattoError("Environment", "the dataplane program is not compiled; run 'make bpf'");
}

/**
 * Tells, line by line, what an agent of this version would do with the maps that are pinned. Changes nothing, also while another agent works with
 * them. Throws the `Environment` that `openDataplane` would throw.
 */
export function previewTakeover({
  pinFolder,
  maxSessions,
}: Pick<DataplaneOptions, "pinFolder" | "maxSessions">): readonly string[] {
  checkCompiled();
  return describeTakeover(OBJECT_PATH, pinFolder, maxSessions);
}

/** Whoever may leave translated only: the sources of gateways, and hosts with a floating address. */
function enrolledSources(config: NodeConfig["spec"]): string[] {
  const floating = (config.floatingAddresses ?? []).map(({ inside }) => `${inside}/32`);
  return [...config.gateways.flatMap((gateway) => gateway.sources), ...floating];
}

/** Pins that somebody removed are made again while we still hold the maps. */
function ensurePins(maps: KernelMaps, folder: string): Repair[] {
  ensurePinFolder(folder);
  return MAP_NAMES.filter((name) => !existsSync(join(folder, name))).map((name) => {
    bpf.pin(maps[name].fd, join(folder, name));
    return { what: "map", detail: `${name}: pinned` };
  });
}

/** The kernel tells by a gateway's public address which index it has. */
function readAllGatewayCounters(
  maps: KernelMaps,
  codecs: Codecs,
  { gateways }: NodeConfig["spec"],
): ReadonlyMap<string, Readonly<Record<string, Count>>> {
  const known = readAddresses(maps, codecs);
  return new Map(
    gateways.flatMap(({ namespace, name, addresses: [first] }) => {
      const index = first && known.get(address(first.address))?.gateway;
      const counts = index === undefined ? undefined : readGatewayCounters(maps, codecs, index);
      return counts ? [[`${namespace}/${name}`, counts] as const] : [];
    }),
  );
}

function readStatus(maps: KernelMaps, codecs: Codecs): Omit<DataplaneStatus, "lent"> {
  const counters = readCounters(maps, codecs);
  const used = readSweeper(maps, codecs).in_use;
  return { counters, sessions: { used, capacity: maps.records.info.maxEntries } };
}

/**
 * Removes everything that `openDataplane` and `ensure` ever made, and gives the kernel settings back. Needs no configuration and no
 * store. Returns what was removed, for people; an empty list means that there was nothing.
 */
export async function cleanupDataplane(
  options: Pick<DataplaneOptions, "pinFolder" | "stateFolder">,
): Promise<string[]> {
  const removed: string[] = [];
  for (const role of ROLES) if (detach(options.pinFolder, role)) removed.push(`XDP program (${role})`);
  if (removeHeldPair(options.pinFolder)) removed.push("interfaces natto-held and natto-again");
  for (const name of MAP_NAMES) {
    const path = join(options.pinFolder, name);
    if (!existsSync(path)) continue;
    unlinkSync(path);
    removed.push(`map ${name}`);
  }
  if (existsSync(options.pinFolder) && readdirSync(options.pinFolder).length === 0) {
    try {
      rmdirSync(options.pinFolder);
    } catch (error) {
      // The folder may be the mount point itself; that is not ours to remove.
      if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
    }
  }
  if (removeGuard()) removed.push("nftables table natto");
  removed.push(...restoreSysctls(options.stateFolder).map((name) => `setting ${name}`));
  return removed;
}
