/** Programs of other versions meet pinned maps: what they take over, what they make anew, what they refuse. In a real kernel. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, test } from "node:test";
import { MAP_NAMES, type MapName } from "./kernel-maps.ts";
import * as bpf from "./libbpf.ts";
import { describeTakeover, ensurePinFolder, loadOnMaps } from "./pinned-maps.ts";
import { compileVersion, type Edit } from "./testing/other-version.ts";
import { enterSandbox } from "./testing/sandbox.ts";

const OURS = join(import.meta.dirname, "../../build/natto.bpf.o");
const SESSIONS = 1024;

let folder: string;
let versions: string;

before(() => {
  const sandbox = enterSandbox();
  folder = join(sandbox.bpffs, "natto");
  versions = sandbox.state;
});

beforeEach(() => rmSync(folder, { recursive: true, force: true }));

/** A program whose maps.h is another. */
function versionWith(name: string, ...changes: readonly [from: string, to: string][]): string {
  mkdirSync(join(versions, name));
  return compileVersion(
    join(versions, name),
    changes.map(([from, to]): Edit => ({ file: "bpf/maps.h", from, to })),
  );
}

/** Loads a program as an agent does, and pins its maps. Returns the numbers by which the kernel knows them. */
function takeOver(objectPath: string): ReadonlyMap<MapName, number> {
  ensurePinFolder(folder);
  const { object, maps } = loadOnMaps(objectPath, folder, SESSIONS);
  for (const name of MAP_NAMES) {
    const path = join(folder, name);
    if (!existsSync(path)) bpf.pin(maps[name].fd, path);
  }
  const ids = new Map(MAP_NAMES.map((name) => [name, bpf.mapInfo(maps[name].fd).id]));
  object.close();
  return ids;
}

/** The maps that are not the same ones. */
function madeAnew(
  before: ReadonlyMap<MapName, number>,
  after: ReadonlyMap<MapName, number>,
): readonly MapName[] {
  return MAP_NAMES.filter((name) => before.get(name) !== after.get(name));
}

const HOLDS_SESSIONS: readonly MapName[] = [
  "addresses",
  "flows",
  "records",
  "free_records",
  "endpoints",
  "sweeper",
];

test("the same version takes every map over", () => {
  const first = takeOver(OURS);
  assert.deepEqual(describeTakeover(OURS, folder, SESSIONS), ["all sessions will be taken over"]);
  assert.deepEqual(madeAnew(first, takeOver(OURS)), []);
});

test("maps of the configuration that have another layout of the same size are made anew, all of them together", () => {
  const first = takeOver(OURS);
  const other = versionWith("config", [
    "__u16 previous;		/* of a slot that has moved: may know flows that the owner does not */\n	__u16 holder;	",
    "__u16 holder;\n	__u16 previous;	",
  ]);
  assert.deepEqual(describeTakeover(other, folder, SESSIONS), [
    "all sessions will be taken over",
    "map slots will be made anew: it has '__u16 slot.previous at 4', '__u16 slot.holder at 6'; it lacks '__u16 slot.holder at 4', '__u16 slot.previous at 6'",
  ]);
  assert.deepEqual(
    madeAnew(first, takeOver(other)),
    MAP_NAMES.filter((name) => !HOLDS_SESSIONS.includes(name)),
  );
});

test("a session table whose members lie elsewhere is refused though its size is the same, with what differs and what to do", () => {
  takeOver(OURS);
  const other = versionWith("swapped", [
    "__u8 tcp_out;		/* SEEN_… of packets from inside */\n	__u8 tcp_in;",
    "__u8 tcp_in;\n	__u8 tcp_out;",
  ]);
  const refusal =
    /pinned map 'records' .*\(it has '__u8 record\.tcp_out at 58', .*it lacks '__u8 record\.tcp_in at 58'.*\).*'natto drain' the node.*natto agent --cleanup/;
  const pins = readdirSync(folder);
  assert.throws(() => describeTakeover(other, folder, SESSIONS), refusal);
  assert.throws(() => takeOver(other), refusal);
  assert.deepEqual(readdirSync(folder), pins, "nothing was touched");
  assert.deepEqual(describeTakeover(OURS, folder, SESSIONS), ["all sessions will be taken over"]);
});
