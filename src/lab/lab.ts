/** Labs: bring one up, use it, find one that is up. The fixture of all end-to-end tests. */
import { spawnSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NattoError } from "../errors.ts";
import { type CommandOptions, type CommandResult, runCommand, runOrThrow } from "../run-command.ts";
import { eachOf } from "./each-of.ts";
import { type LabInput, type LabProcessSpec, parseLab, readLabFile } from "./lab-file.ts";
import { cutLinks, restoreLinks, setRoutes, untilLinksSend } from "./lab-links.ts";
import {
  adoptProcess,
  hostEnvironment,
  inNamespace,
  type LabProcess,
  type SpawnOptions,
  startProcess,
  waitReady,
} from "./lab-process.ts";
import {
  bpfFolder,
  claimFolder,
  labRoot,
  listLabs,
  type RunFolder,
  readProcess,
  readState,
  runFolder,
  stateFolder,
  writeState,
} from "./run-folder.ts";
import { hostScript, linkBatch, namespaceBatch, routeBatch } from "./setup-plan.ts";
import { downLab, namespacesOf } from "./teardown.ts";
import { expandLab, type LabHost, managedAddress, type Topology } from "./topology.ts";

export interface UpOptions {
  /** Instead of the name in the file. */
  readonly name?: string;
  /** Interrupts `upLab`, which then removes what it had made and throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A lab that is up. Methods that name a host throw `NotFound` when there is none of that name. */
export interface Lab extends AsyncDisposable {
  readonly name: string;
  readonly topology: Topology;
  /** Its folder, see run-folder.ts. */
  readonly folder: RunFolder;
  host(name: string): LabHost;
  /** Runs a command in a host to its end; see `runCommand`. */
  exec(host: string, argv: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** Starts a process in a host. It ends with the lab at the latest. */
  spawn(host: string, argv: readonly string[], options: SpawnOptions): Promise<LabProcess>;
  /** A process that was started in the host, be it running or not. Throws `NotFound`. */
  process(host: string, name: string): Promise<LabProcess>;
  /** Takes the host's fabric links down at both ends, as when its power fails; on request its management link too. */
  cutLinks(host: string, options?: { readonly management?: boolean }): Promise<void>;
  /** Brings back all of the host's links that are cut, and the routes by them. */
  restoreLinks(host: string): Promise<void>;
  down(): Promise<void>;
}

/**
 * Makes a lab, given as a value or as the path of a file, starts its processes and waits until they are ready. When anything fails, or on
 * `signal`, everything made so far is removed. Throws `Invalid` (the lab is malformed), `AlreadyExists` (it is up), `Environment` (no root, a
 * program is missing, a process does not become ready).
 */
export async function upLab(source: LabInput | string, options: UpOptions = {}): Promise<Lab> {
  const { name, signal } = options;
  const file = typeof source === "string" ? await readLabFile(source) : parseLab(source);
  const lab = name === undefined ? file : parseLab({ ...file, metadata: { name } });
  const topology = expandLab(lab);
  requireRoot();
  const folder = runFolder(labRoot(), topology.name);
  await refuseForeignNamespaces(topology.name);
  await claimFolder(folder);
  try {
    const nodes = topology.hosts.filter((host) => host.role === "node");
    const state = {
      version: 1,
      createdAt: new Date().toISOString(),
      lab,
      namespaces: topology.hosts.map((host) => host.namespace),
      mounts: nodes.map((node) => bpfFolder(folder, node.name)),
    } as const;
    await writeState(folder, { ...state, phase: "starting" });
    await buildNetwork(topology, signal);
    await makeFolders(folder, topology, signal);
    await startAll(folder, topology, signal);
    await writeState(folder, { ...state, phase: "up" });
    signal?.throwIfAborted();
  } catch (thrown) {
    await cleanUpAfter(thrown, topology.name);
    throw thrown;
  }
  return openTopology(folder, topology);
}

async function cleanUpAfter(thrown: unknown, lab: string): Promise<void> {
  try {
    await downLab(lab);
  } catch (second) {
    const why = [thrown, second].map((e) => (e instanceof Error ? e.message : String(e)));
    throw new NattoError("Environment", `${why[0]}; and then ${why[1]}`, [], thrown);
  }
}

/** Finds a lab that is up. Throws `NotFound`. */
export async function openLab(name: string): Promise<Lab> {
  const folder = runFolder(labRoot(), name);
  const state = await readState(folder);
  if (!state) {
    const others = await listLabs();
    const hint =
      others.length === 0
        ? "no lab is up; start one with 'natto lab up FILE'"
        : `up are: ${others.join(", ")}`;
    throw new NattoError("NotFound", `there is no lab ${name}; ${hint}`);
  }
  return openTopology(folder, expandLab(state.lab));
}

/** Throws `Environment` unless this process may make network namespaces. */
export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new NattoError(
    "Environment",
    "labs are made of network namespaces and mounts, which needs root; run this with sudo",
  );
}

/** Namespaces of this lab's name without its folder belong to a lab of another NATTO_LAB_DIR. */
async function refuseForeignNamespaces(lab: string): Promise<void> {
  const [found] = namespacesOf(lab);
  const folder = runFolder(labRoot(), lab);
  if (found === undefined || (await readState(folder))) return;
  throw new NattoError(
    "AlreadyExists",
    `network namespace ${found} exists, but ${folder.path} does not: lab ${lab} may be up with another NATTO_LAB_DIR; take it down there or choose another name`,
  );
}

async function buildNetwork(topology: Topology, signal: AbortSignal | undefined): Promise<void> {
  const roles = new Map(topology.hosts.map((host) => [host.name, host.role]));
  signal?.throwIfAborted();
  await runOrThrow("make the network namespaces", ["ip", "-batch", "-"], namespaceBatch(topology));
  signal?.throwIfAborted();
  await runOrThrow("make the links", ["ip", "-batch", "-"], linkBatch(topology));
  await eachOf(topology.hosts, signal, async (host) => {
    const argv = inNamespace(host.namespace, ["sh", "-s"]);
    await runOrThrow(`set up host ${host.name}`, argv, hostScript(host, roles));
  });
  await eachOf(topology.hosts, signal, (host) => setRoutes(host, routeBatch(host)));
  const links = new Set(topology.hosts.flatMap((host) => host.interfaces.map((i) => i.link)));
  await untilLinksSend(topology.hosts, links, signal);
}

async function makeFolders(
  folder: RunFolder,
  topology: Topology,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const host of topology.hosts) {
    await mkdir(stateFolder(folder, host.name));
    if (host.role !== "node") continue;
    signal?.throwIfAborted();
    const path = bpfFolder(folder, host.name);
    await mkdir(path);
    await runOrThrow(`mount a BPF file system for ${host.name}`, ["mount", "-t", "bpf", "bpf", path]);
  }
}

/** Starts all processes; those of control hosts first, because the others look for them. */
async function startAll(
  folder: RunFolder,
  topology: Topology,
  signal: AbortSignal | undefined,
): Promise<void> {
  const isControl = (host: LabHost) => host.role === "control";
  for (const hosts of [topology.hosts.filter(isControl), topology.hosts.filter((host) => !isControl(host))]) {
    const started: (readonly [LabHost, LabProcess, LabProcessSpec])[] = [];
    for (const host of hosts) {
      for (const spec of host.processes) {
        signal?.throwIfAborted();
        const fill = (text: string) => fillIn(text, folder, topology, host);
        const env = Object.fromEntries(Object.entries(spec.env).map(([key, value]) => [key, fill(value)]));
        for (const [file, text] of Object.entries(spec.files)) {
          await writeFile(join(stateFolder(folder, host.name), file), fill(text));
        }
        const process = await startProcess(folder, host, spec.command.map(fill), { name: spec.name, env });
        started.push([host, process, spec]);
      }
    }
    for (const [host, process, spec] of started) {
      if (spec.ready) await waitReady(host, process, spec.ready, signal);
    }
  }
}

/** Fills in `$(NAME)`, in the manner of Kubernetes: what is not one of ours stays as it is. */
function fillIn(text: string, folder: RunFolder, topology: Topology, host: LabHost): string {
  const values: Readonly<Record<string, string | undefined>> = {
    LAB: topology.name,
    HOST: host.name,
    INDEX: String(host.index),
    ADDRESS: host.addresses[0],
    MANAGEMENT: topology.managementAddress,
    SELF: managedAddress(host),
    RUN: folder.path,
    STATE: stateFolder(folder, host.name),
    BPF: bpfFolder(folder, host.name),
    TRAFFIC: join(import.meta.dirname, "traffic"),
  };
  return text.replace(/\$\(([A-Z]+)\)/g, (whole, name: string) =>
    name === "CONSUL" ? consulProgram() : (values[name] ?? whole),
  );
}

/** The path of Consul. Throws `Environment`, with what `scripts/find-consul` says, when there is none. */
function consulProgram(): string {
  const { status, stdout, stderr } = spawnSync(join(import.meta.dirname, "../../scripts/find-consul"), {
    encoding: "utf8",
  });
  if (status === 0) return stdout.trim();
  throw new NattoError("Environment", `this lab needs Consul: ${stderr.trim()}`);
}

function openTopology(folder: RunFolder, topology: Topology): Lab {
  const host = (name: string): LabHost => {
    const found = topology.hosts.find((h) => h.name === name);
    if (found) return found;
    const known = topology.hosts.map((h) => h.name).join(", ");
    throw new NattoError("NotFound", `lab ${topology.name} has no host ${name}; its hosts are ${known}`);
  };
  const down = async () => {
    await downLab(topology.name);
  };
  return {
    name: topology.name,
    topology,
    folder,
    host,
    exec: (name, argv, options = {}) =>
      runCommand(inNamespace(host(name).namespace, argv), { ...options, env: hostEnvironment(options.env) }),
    spawn: async (name, argv, options) => {
      const record = await readProcess(folder, host(name).name, options.name);
      if (record && adoptProcess(folder, record).alive()) {
        throw new NattoError(
          "AlreadyExists",
          `${name} runs a process ${options.name}; end it or choose another name`,
        );
      }
      return startProcess(folder, host(name), argv, options);
    },
    process: async (name, process) => {
      const record = await readProcess(folder, host(name).name, process);
      if (record) return adoptProcess(folder, record);
      throw new NattoError(
        "NotFound",
        `no process ${process} was started in ${name}; 'natto lab status' shows those that were`,
      );
    },
    cutLinks: (name, options) => cutLinks(folder, topology, host(name), options?.management ?? false),
    restoreLinks: (name) => restoreLinks(folder, topology, host(name)),
    down,
    [Symbol.asyncDispose]: down,
  };
}
