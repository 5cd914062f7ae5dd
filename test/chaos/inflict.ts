/** Does to a lab what a schedule says, and undoes it. */
import type { Lab } from "../../src/lab/lab.ts";
import { readProcesses } from "../../src/lab/run-folder.ts";
import { MANAGEMENT_INTERFACE } from "../../src/lab/topology.ts";
import { killHard, restart, run } from "../e2e/fixture.ts";
import { forgetEverything, killEverything, startEverything } from "../e2e/node-outage.ts";
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
      await killEverything(lab, fault.host);
      if (fault.kind === "wipe") await forgetEverything(lab, fault.host);
      return;
  }
}

export async function undo(lab: Lab, fault: Fault): Promise<void> {
  if (fault.kind === "kill") await restart(lab, fault.host, fault.process);
  else if (fault.kind === "pause") (await lab.process(fault.host, fault.process)).kill("SIGCONT");
  else if (fault.kind === "partition") await run(lab, fault.host, "nft", "delete", "table", "inet", "chaos");
  else if (isNodeFault(fault)) {
    await lab.restoreLinks(fault.host);
    await startEverything(lab, fault.host);
  }
}

/** Nothing passes the host's management interface any more, in either direction; connections hang rather than break. */
async function partition(lab: Lab, host: string): Promise<void> {
  const chain = (hook: string, match: string) =>
    `chain ${hook} { type filter hook ${hook} priority 0; ${match} "${MANAGEMENT_INTERFACE}" drop; };`;
  const table = `table inet chaos { ${chain("input", "iifname")} ${chain("output", "oifname")} }`;
  await run(lab, host, "nft", table);
}
