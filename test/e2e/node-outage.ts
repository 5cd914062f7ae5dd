/** What befalls a whole node of a lab: its processes, and what its kernel and its disk hold. (`powerOff` is in src/demo/power-off.ts.) */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { isAlive, processesIn, signalProcess } from "../../src/lab/process-table.ts";
import { readProcesses } from "../../src/lab/run-folder.ts";
import { nodeFolders, restart, run, until } from "./fixture.ts";

/** Kills every process in the host, whoever started it: the agent's routing daemon too. */
export async function killEverything(lab: Lab, host: string): Promise<void> {
  const file = `/run/netns/${lab.host(host).namespace}`;
  const all = processesIn([file]);
  for (const id of all) signalProcess(id, "SIGKILL");
  await until(`no process is left in ${host}`, async () => !all.some(isAlive));
}

/** Empties the node's kernel, as a reboot does: no maps, no programs, no rules. Its processes have to be dead. */
export async function forgetKernel(lab: Lab, node: string): Promise<void> {
  await empty(nodeFolders(lab, node).pins);
  // Added first, since it may not be there; what a test has put there stays.
  await run(lab, node, "nft", "add table ip natto; delete table ip natto");
}

/** Empties the node's disk too, as when it was replaced: no snapshot is left. */
export async function forgetEverything(lab: Lab, node: string): Promise<void> {
  await forgetKernel(lab, node);
  await empty(nodeFolders(lab, node).state);
}

async function empty(folder: string): Promise<void> {
  // The two *.debug belong to the BPF file system itself.
  const entries = (await readdir(folder)).filter((name) => !name.endsWith(".debug"));
  for (const entry of entries) await rm(join(folder, entry), { recursive: true });
}

/** Starts again what ran on the node from the beginning of the lab. */
export async function startEverything(lab: Lab, node: string): Promise<void> {
  const names = (await readProcesses(lab.folder)).filter((p) => p.host === node).map((p) => p.name);
  for (const name of names) await restart(lab, node, name);
}
