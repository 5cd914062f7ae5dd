/** Does to a lab what a schedule says, and undoes it. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { isAlive, processesIn, signalProcess } from "../../src/lab/process-table.ts";
import { bpfFolder, readProcesses, stateFolder } from "../../src/lab/run-folder.ts";
import { MANAGEMENT_INTERFACE } from "../../src/lab/topology.ts";
import { killHard, restart, run, until } from "../e2e/fixture.ts";
import { type Fault, isNodeFault, type Targets, type Victim } from "./schedule.ts";

/** Programs that carry or make traffic, and the suite's own: they stay. */
const SPARED = new Set(["echo", "prober", "declarer", "bird"]);

/** What there is to break in a lab. */
export async function targetsIn(lab: Lab): Promise<Targets> {
  const processes = (await readProcesses(lab.folder))
    .filter(({ name }) => !SPARED.has(name))
    .map(({ host, name }): Victim => ({ host, process: name }));
  const nodes = lab.topology.hosts.filter((host) => host.role === "node").map((host) => host.name);
  const managed = lab.topology.hosts.filter((host) =>
    host.interfaces.some(({ name, network }) => name === MANAGEMENT_INTERFACE && network === "management"),
  );
  return { processes, partitions: managed.map((host) => host.name), nodes };
}

async function processesOf(lab: Lab, host: string): Promise<readonly string[]> {
  return (await readProcesses(lab.folder))
    .filter((p) => p.host === host && !SPARED.has(p.name))
    .map((p) => p.name);
}

export async function inflict(lab: Lab, fault: Fault): Promise<void> {
  switch (fault.kind) {
    case "kill":
      return killHard(lab, fault.host, fault.process);
    case "pause":
      (await lab.process(fault.host, fault.process)).kill("SIGSTOP");
      return;
    case "partition":
      await partition(lab, fault.host);
      return;
    case "power":
    case "wipe":
      await lab.cutLinks(fault.host, { management: true });
      await killAll(lab, fault.host);
      if (fault.kind === "wipe") await wipe(lab, fault.host);
      return;
  }
}

export async function undo(lab: Lab, fault: Fault): Promise<void> {
  if (fault.kind === "kill") await restart(lab, fault.host, fault.process);
  else if (fault.kind === "pause") (await lab.process(fault.host, fault.process)).kill("SIGCONT");
  else if (fault.kind === "partition") await run(lab, fault.host, "nft", "delete", "table", "inet", "chaos");
  else if (isNodeFault(fault)) {
    await lab.restoreLinks(fault.host);
    for (const name of await processesOf(lab, fault.host)) await restart(lab, fault.host, name);
  }
}

/** Nothing passes the host's management interface any more, in either direction; connections hang rather than break. */
async function partition(lab: Lab, host: string): Promise<void> {
  const chain = (hook: string, match: string) =>
    `chain ${hook} { type filter hook ${hook} priority 0; ${match} "${MANAGEMENT_INTERFACE}" drop; };`;
  const table = `table inet chaos { ${chain("input", "iifname")} ${chain("output", "oifname")} }`;
  await run(lab, host, "nft", table);
}

/** Every process in the host, whoever started it: the agent's routing daemon too. */
async function killAll(lab: Lab, host: string): Promise<void> {
  const file = `/run/netns/${lab.host(host).namespace}`;
  const all = processesIn([file]);
  for (const id of all) signalProcess(id, "SIGKILL");
  await until(`no process is left in ${host}`, async () => !all.some(isAlive));
}

/** A node whose disk was replaced: no snapshot, no maps, no programs, no rules. */
async function wipe(lab: Lab, host: string): Promise<void> {
  for (const folder of [bpfFolder(lab.folder, host), stateFolder(lab.folder, host)]) {
    // The two *.debug belong to the BPF file system itself.
    const entries = (await readdir(folder)).filter((name) => !name.endsWith(".debug"));
    for (const entry of entries) await rm(join(folder, entry), { recursive: true });
  }
  // Added first, since it may not be there; what else this suite has put there stays.
  await run(lab, host, "nft", "add table ip natto; delete table ip natto");
}
