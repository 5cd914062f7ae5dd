/** The links of a lab that is up: cut them and bring them back. */
import { setTimeout as delay } from "node:timers/promises";
import { NattoError } from "../errors.ts";
import { runOrThrow } from "../run-command.ts";
import { eachOf } from "./each-of.ts";
import { forgetCut, type RunFolder, readCuts, recordCut } from "./run-folder.ts";
import { routeBatch } from "./setup-plan.ts";
import type { LabHost, LabInterface, Topology } from "./topology.ts";

/** The kernel takes a second at most to see a carrier. */
const PATIENCE_MS = 5_000;

/** Takes all fabric links of a host down at both ends; on request its management link too. */
export async function cutLinks(
  folder: RunFolder,
  topology: Topology,
  host: LabHost,
  management: boolean,
): Promise<void> {
  const links = host.interfaces.filter((i) => management || i.network === "fabric");
  for (const { link } of links) await recordCut(folder, link);
  await setEnds(topology, bothEnds(host, links), "down");
}

/**
 * Brings back all links of a host that are cut, and the routes by them. Routers take the next hops back last: by itself the kernel would use
 * one again as soon as the router's end is up, when the other end may not send yet and the host not know where to.
 */
export async function restoreLinks(folder: RunFolder, topology: Topology, host: LabHost): Promise<void> {
  const before = await readCuts(folder);
  const links = host.interfaces.filter((i) => before.has(i.link));
  const restored = new Set(links.map((i) => i.link));
  const after = new Set([...before].filter((link) => !restored.has(link)));
  const neighbours = topology.hosts.filter((h) => links.some((i) => i.peer.host === h.name));
  await eachOf(neighbours, undefined, (h) => setRoutesBy(restored, h, before));
  await setEnds(topology, bothEnds(host, links), "up");
  await untilLinksSend([host, ...neighbours], restored);
  await setRoutesBy(restored, host, after);
  await eachOf(neighbours, undefined, (h) => setRoutesBy(restored, h, after));
  for (const link of restored) await forgetCut(folder, link);
}

/** Sets the routes of a host that go by some of its links. */
async function setRoutesBy(
  links: ReadonlySet<string>,
  host: LabHost,
  cut: ReadonlySet<string>,
): Promise<void> {
  const interfaces = new Set(host.interfaces.filter((i) => links.has(i.link)).map((i) => i.name));
  await setRoutes(host, routeBatch(host, cut, interfaces));
}

/**
 * Waits until links send. The end that was up first sends nothing until the kernel has seen to its carrier, and then says that it is up; the
 * other end sends at once, but the kernel may take a second to say so. So a link sends when one of its ends is said to be up.
 */
export async function untilLinksSend(
  hosts: readonly LabHost[],
  links: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  const silent = new Set(links);
  for (;;) {
    await eachOf(hosts, signal, async (host) => {
      const own = host.interfaces.filter((i) => silent.has(i.link));
      if (own.length === 0) return;
      const up = await devicesUp(host);
      for (const { name, link } of own) if (up.has(name)) silent.delete(link);
    });
    if (silent.size === 0) return;
    if (performance.now() > deadline) {
      const names = [...silent].join(", ");
      throw new NattoError("Environment", `links do not come up within ${PATIENCE_MS} ms: ${names}`);
    }
    await delay(5);
  }
}

async function devicesUp(host: LabHost): Promise<ReadonlySet<string | undefined>> {
  const argv = ["ip", "-n", host.namespace, "-br", "link"];
  const text = await runOrThrow(`look at the links of ${host.name}`, argv);
  return new Set([...text.matchAll(/^([^@\s]+)\S*\s+UP\s/gm)].map((match) => match[1]));
}

interface LinkEnd {
  readonly host: string;
  readonly interface: string;
}

function bothEnds(host: LabHost, links: readonly LabInterface[]): readonly LinkEnd[] {
  return links.flatMap((i) => [i.peer, { host: host.name, interface: i.name }]);
}

/** Sets ends of links at once, as far as that is possible: by one program per host. */
async function setEnds(topology: Topology, ends: readonly LinkEnd[], to: "up" | "down"): Promise<void> {
  const byHost = Map.groupBy(ends, (end) => end.host);
  await Promise.all(
    topology.hosts.flatMap(({ name, namespace }) => {
      const batch = byHost.get(name)?.map((end) => `link set ${end.interface} ${to}\n`);
      if (!batch) return [];
      return [
        runOrThrow(`set links of ${name} ${to}`, ["ip", "-n", namespace, "-batch", "-"], batch.join("")),
      ];
    }),
  );
}

/** Sets routes of a host, given as the input of `ip -batch`. */
export async function setRoutes(host: LabHost, batch: string): Promise<void> {
  if (batch === "") return;
  await runOrThrow(`set the routes of ${host.name}`, ["ip", "-n", host.namespace, "-batch", "-"], batch);
}
