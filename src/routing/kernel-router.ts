/**
 * The driver for a routing daemon of the operator's own (FRR, GoBGP, another BIRD): it keeps one routing table for each side, which nobody
 * forwards by, and the daemon announces what is in them.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { NattoError } from "../errors.ts";
import { DECLARED_SIDES, type KernelRouting } from "../model/routing.ts";
import { runCommand, runOrThrow } from "../run-command.ts";
import { type Announcements, NOTHING, sortPrefixes } from "./announcements.ts";
import type { Router, RoutingWish } from "./router.ts";

const placeSchema = z.object({
  protocol: z.number(),
  tables: z.object({ inside: z.number(), outside: z.number() }),
});
/** Where routes are kept. */
type Place = z.output<typeof placeSchema>;

/** The place that was used last is remembered here, so that what is there can be taken back without any configuration. */
const placeFile = (stateFolder: string): string => join(stateFolder, "kernel-routes.json");

export function openKernelRouter(stateFolder: string): Router {
  return {
    async ensure(wish) {
      const before = readPlace(stateFolder);
      if (!isKernelWish(wish)) return before ? cleanupKernelRoutes(stateFolder) : [];
      const { protocol, tables } = wish.routing;
      const place = { protocol, tables };
      const moved = before !== undefined && JSON.stringify(before) !== JSON.stringify(place);
      // What is to be taken back must be known before anything is made.
      const changes = moved ? [...(await cleanupKernelRoutes(stateFolder))] : [];
      if (moved || !before) writePlace(stateFolder, place);
      return [...changes, ...(await makeRoutes(place, wish.announce))];
    },
    async observe(wish) {
      const place = isKernelWish(wish) ? wish.routing : readPlace(stateFolder);
      return { announced: place ? await listRoutes(place) : NOTHING, sessions: [] };
    },
  };
}

/** Removes the routes of a state folder, whether an agent runs or not. Returns what was removed, for people. */
export async function cleanupKernelRoutes(stateFolder: string): Promise<readonly string[]> {
  const place = readPlace(stateFolder);
  if (!place) return [];
  const removed = await makeRoutes(place, NOTHING);
  rmSync(placeFile(stateFolder), { force: true });
  return removed;
}

function isKernelWish(
  wish: RoutingWish | undefined,
): wish is RoutingWish & { readonly routing: KernelRouting } {
  return wish?.routing.driver === "kernel";
}

function readPlace(stateFolder: string): Place | undefined {
  const file = placeFile(stateFolder);
  if (!existsSync(file)) return undefined;
  const { success, data } = placeSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (success) return data;
  throw new NattoError(
    "Environment",
    `${file} does not say in which routing tables Natto's routes are; remove them ('ip route flush table TABLE') and the file`,
  );
}

function writePlace(stateFolder: string, place: Place): void {
  mkdirSync(stateFolder, { recursive: true });
  writeFileSync(placeFile(stateFolder), JSON.stringify(place));
}

/** Adds what lacks, then removes what is too much. */
async function makeRoutes(place: Place, wanted: Announcements): Promise<string[]> {
  const found = await listRoutes(place);
  const differences = DECLARED_SIDES.map((side) => ({
    table: place.tables[side],
    coming: wanted[side].filter((prefix) => !found[side].includes(prefix)),
    going: found[side].filter((prefix) => !wanted[side].includes(prefix)),
  }));
  const suffix = (table: number): string => `table ${table} proto ${place.protocol}`;
  const batch = [
    ...differences.flatMap(({ table, coming }) =>
      coming.map((prefix) => `route replace blackhole ${prefix} ${suffix(table)}`),
    ),
    ...differences.flatMap(({ table, going }) =>
      going.map((prefix) => `route del blackhole ${prefix} ${suffix(table)}`),
    ),
  ];
  if (batch.length === 0) return [];
  await runOrThrow("set the routes to announce", ["ip", "-batch", "-"], `${batch.join("\n")}\n`);
  return differences.flatMap(({ table, coming, going }) => [
    ...coming.map((prefix) => `route ${prefix} in table ${table}`),
    ...going.map((prefix) => `no route ${prefix} in table ${table}`),
  ]);
}

async function listRoutes({ tables, protocol }: Place): Promise<Announcements> {
  const [inside, outside] = await Promise.all(
    DECLARED_SIDES.map((side) => listTable(tables[side], protocol)),
  );
  return { inside: inside ?? [], outside: outside ?? [] };
}

const routeSchema = z.array(z.object({ dst: z.string() }));

async function listTable(table: number, protocol: number): Promise<readonly string[]> {
  const argv = ["ip", "-j", "-4", "route", "show", "table", String(table), "proto", String(protocol)];
  const { code, stdout, stderr } = await runCommand(argv);
  // A table begins to exist with its first route.
  if (code !== 0 && /does not exist/.test(stderr)) return [];
  if (code !== 0) {
    throw new NattoError("Environment", `cannot read routing table ${table}: ${stderr.trim()}`);
  }
  const routes = routeSchema.parse(JSON.parse(stdout.trim() || "[]"));
  return sortPrefixes(routes.map(({ dst }) => prefixOf(dst)));
}

/** iproute2 writes `default`, and single addresses without a length. */
function prefixOf(destination: string): string {
  if (destination === "default") return "0.0.0.0/0";
  return destination.includes("/") ? destination : `${destination}/32`;
}
