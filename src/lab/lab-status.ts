/** What a lab consists of and what of it is there. */
import { NattoError } from "../errors.ts";
import type { Lab } from "./lab.ts";
import type { HostRole } from "./lab-file.ts";
import { isAlive } from "./process-table.ts";
import { listLabs, readCuts, readProcesses, readState } from "./run-folder.ts";
import { namespacesOf } from "./teardown.ts";
import { hostPart } from "./topology.ts";

export interface HostStatus {
  readonly name: string;
  readonly role: HostRole;
  readonly namespace: string;
  /** Whether its namespace exists. */
  readonly exists: boolean;
  /** Of the loopback interface, then of the others. */
  readonly addresses: readonly string[];
  readonly interfaces: readonly {
    readonly name: string;
    readonly address: string | undefined;
    readonly peer: string;
    readonly state: "up" | "cut";
  }[];
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly state: "running" | "ended";
    readonly command: readonly string[];
  }[];
}

export interface LabStatus {
  readonly name: string;
  /** `starting` also when `up` was killed half-way. */
  readonly phase: "starting" | "up";
  readonly createdAt: string;
  readonly folder: string;
  readonly hosts: readonly HostStatus[];
}

/** The state of a lab now. Throws `NotFound` when it has been taken down. */
export async function labStatus(lab: Lab): Promise<LabStatus> {
  const state = await readState(lab.folder);
  if (!state)
    throw new NattoError(
      "NotFound",
      `lab ${lab.name} has been taken down; start it with 'natto lab up FILE'`,
    );
  const [cuts, records] = await Promise.all([readCuts(lab.folder), readProcesses(lab.folder)]);
  const namespaces = new Set(namespacesOf(lab.name));
  const hosts = lab.topology.hosts.map((host): HostStatus => {
    const { name, role, namespace, interfaces } = host;
    const own = [host.bridgeAddress, ...interfaces.map((i) => i.address)].filter((a) => a !== undefined);
    return {
      name,
      role,
      namespace,
      exists: namespaces.has(namespace),
      addresses: [...host.addresses, ...new Set(own.map(hostPart))],
      interfaces: interfaces.map((i) => ({
        name: i.name,
        address: i.address,
        peer: `${i.peer.host}:${i.peer.interface}`,
        state: cuts.has(i.link) ? "cut" : "up",
      })),
      processes: records
        .filter((record) => record.host === name)
        .map((record) => ({
          name: record.name,
          pid: record.pid,
          state: isAlive(record) ? "running" : "ended",
          command: record.command,
        })),
    };
  });
  return { name: lab.name, phase: state.phase, createdAt: state.createdAt, folder: lab.folder.path, hosts };
}

/** The name given, or that of the only lab there is. Throws `NotFound` when there is none, `BadRequest` when there are several. */
export async function pickLab(name: string | undefined): Promise<string> {
  if (name !== undefined) return name;
  const labs = await listLabs();
  const [only] = labs;
  if (only === undefined)
    throw new NattoError("NotFound", "no lab is up; start one with 'natto lab up FILE'");
  if (labs.length === 1) return only;
  throw new NattoError("BadRequest", `several labs are up (${labs.join(", ")}); choose one with --name`);
}
