/**
 * The maps outlive the agent by their pins, and so an agent of another version meets them. What it can use it takes over; what only the
 * configuration is in it makes anew; and what holds sessions that it cannot read it refuses.
 */
import { existsSync, mkdirSync, statfsSync, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { NattoError } from "../errors.ts";
import { type Btf, readTypes } from "./btf.ts";
import { type KernelMap, type KernelMaps, MAP_NAMES, type MapName } from "./kernel-maps.ts";
import * as bpf from "./libbpf.ts";
import { layoutDifference, layoutOfType } from "./type-layout.ts";

/** Maps whose size is the number of sessions, and how many entries each has per session. */
const SIZED: Partial<Record<MapName, number>> = { flows: 2, records: 1, free_records: 1, endpoints: 1 };

/**
 * The maps that hold what packets have made, or give it its meaning: sessions refer to slots and gateways by the numbers in `addresses`, and
 * `endpoints` counts them. All others are written anew from the configuration, so that a map of another layout is replaced by an empty one.
 */
const LASTING: ReadonlySet<MapName> = new Set<MapName>([
  "addresses",
  "flows",
  "records",
  "free_records",
  "endpoints",
  "sweeper",
]);

const BPF_FS_MAGIC = 0xcafe4a11;

/** Makes the folder for the pins; throws when it is not on a BPF file system, or when libbpf could not use it. */
export function ensurePinFolder(folder: string): void {
  if (folder.includes(".")) {
    throw new NattoError(
      "Environment",
      `the pin folder ${folder} has a '.' in its path, which libbpf cannot use; choose another`,
    );
  }
  const parent = existsSync(folder) ? folder : dirname(folder);
  const type = existsSync(parent) ? statfsSync(parent).type : 0;
  if (type >>> 0 !== BPF_FS_MAGIC) {
    throw new NattoError(
      "Environment",
      `${parent} is not on a BPF file system; mount one ('mount -t bpf bpf ${parent}') or choose another pin folder`,
    );
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 });
}

type Descriptors = Partial<Record<MapName, number>>;

interface FoundPins {
  /** The maps that are pinned. Whoever asks closes them. */
  readonly fds: Descriptors;
  /** Those that do not fit the object and need not: map → the difference. */
  readonly outdated: ReadonlyMap<MapName, string>;
}

/**
 * Opens the maps that are pinned and compares them with the object. Throws when one that lasts does not fit (another version's layout, or another
 * number of sessions): live sessions are never thrown away without being told to.
 */
function findPins(objectPath: string, folder: string, maxSessions: number): FoundPins {
  const definitions = bpf.mapDefinitions(objectPath, MAP_NAMES);
  const ours = readTypes(bpf.readBtf(objectPath));
  const fds: Descriptors = {};
  const outdated = new Map<MapName, string>();
  try {
    for (const name of MAP_NAMES) {
      const fd = bpf.openPin(join(folder, name));
      if (fd === undefined) continue;
      fds[name] = fd;
      const misfit = misfitOf(fd, definitions.get(name)!, ours, SIZED[name] !== undefined);
      if (misfit && LASTING.has(name)) throw otherLayout(name, folder, misfit);
      if (misfit) outdated.set(name, misfit);
      checkRoom(name, bpf.mapInfo(fd).maxEntries, maxSessions);
    }
  } catch (thrown) {
    closeAll(fds);
    throw thrown;
  }
  return { fds, outdated };
}

function closeAll(fds: Descriptors): void {
  for (const fd of Object.values(fds)) bpf.closeFd(fd);
}

function checkRoom(name: MapName, entries: number, maxSessions: number): void {
  const factor = SIZED[name];
  if (!factor || entries === factor * maxSessions) return;
  const room = entries / factor;
  throw new NattoError(
    "Environment",
    `the pinned session table has room for ${room} sessions, not ${maxSessions}; start with --max-sessions ${room}, or remove it with 'natto agent --cleanup' (which ends all sessions)`,
  );
}

/** How a map differs from what the object declares; undefined when it fits. */
function misfitOf(fd: number, wanted: bpf.MapDefinition, ours: Btf, isSized: boolean): string | undefined {
  const found = bpf.mapInfo(fd);
  const differences = [
    ["bytes of a key", found.keySize, wanted.keySize],
    ["bytes of a value", found.valueSize, wanted.valueSize],
    ...(isSized ? [] : [["entries", found.maxEntries, wanted.maxEntries] as const]),
  ] as const;
  const parts = differences
    .filter(([, is, should]) => is !== should)
    .map(([what, is, should]) => `${is} ${what} instead of ${should}`);
  const types = typeMisfit(fd, wanted, ours);
  return [...parts, ...(types ? [types] : [])].join("; ") || undefined;
}

/** The same by the members of keys and values. Of stacks and ring buffers, which have no keys, the kernel keeps no types. */
function typeMisfit(fd: number, wanted: bpf.MapDefinition, ours: Btf): string | undefined {
  if (wanted.keyType === 0 || wanted.valueType === 0) return undefined;
  const found = bpf.readMapBtf(fd);
  if (!found) return "nothing is known of its members";
  const theirs = readTypes(found.raw);
  const differences = [
    layoutDifference(layoutOfType(theirs, found.keyType), layoutOfType(ours, wanted.keyType)),
    layoutDifference(layoutOfType(theirs, found.valueType), layoutOfType(ours, wanted.valueType)),
  ];
  return differences.filter((difference) => difference !== undefined).join("; ") || undefined;
}

function otherLayout(name: MapName, folder: string, misfit: string): NattoError {
  return new NattoError(
    "Environment",
    `the pinned map '${name}' in ${folder} has another version's layout (${misfit}); this version cannot take its sessions over. The node goes on forwarding with the program that it has. Start the agent of the version that made the map, 'natto drain' the node and wait, stop the agent, run 'natto agent --cleanup' (which ends all sessions), start this version, and 'natto undrain'`,
  );
}

/**
 * What an agent of this version would do with the pinned maps, for people; nothing is changed. Throws what the agent would throw when it cannot
 * take them over.
 */
export function describeTakeover(objectPath: string, folder: string, maxSessions: number): readonly string[] {
  const { fds, outdated } = findPins(objectPath, folder, maxSessions);
  closeAll(fds);
  if (Object.keys(fds).length === 0) return ["no maps are pinned: they will be made"];
  return [
    "all sessions will be taken over",
    ...[...outdated].map(([name, misfit]) => `map ${name} will be made anew: ${misfit}`),
  ];
}

/**
 * Opens the maps that are pinned, to be used by this object. When one that is written from the configuration does not fit, none of these is reused:
 * the program that is still attached goes on with the old ones, all together, until the new one takes its place.
 */
function openPinnedMaps(objectPath: string, folder: string, maxSessions: number): Descriptors {
  const { fds, outdated } = findPins(objectPath, folder, maxSessions);
  if (outdated.size === 0) return fds;
  for (const name of MAP_NAMES) {
    const fd = fds[name];
    if (fd === undefined || LASTING.has(name)) continue;
    bpf.closeFd(fd);
    unlinkSync(join(folder, name));
    delete fds[name];
  }
  return fds;
}

/** Loads the object on the pinned maps; those that are missing or of another layout are made, to be pinned later. */
export function loadOnMaps(
  objectPath: string,
  folder: string,
  maxSessions: number,
): { object: bpf.LoadedObject; maps: KernelMaps } {
  const reuse = openPinnedMaps(objectPath, folder, maxSessions);
  const sized = Object.entries(SIZED).filter(([name]) => !(name in reuse));
  const object = bpf.loadObject(objectPath, {
    reuse,
    maxEntries: Object.fromEntries(sized.map(([name, factor]) => [name, factor * maxSessions])),
  });
  closeAll(reuse);
  const entries = MAP_NAMES.map((name): [MapName, KernelMap] => {
    const fd = object.mapFd(name);
    return [name, { fd, info: bpf.mapInfo(fd) }];
  });
  return { object, maps: Object.fromEntries(entries) as Record<MapName, KernelMap> };
}
