/**
 * How much memory an agent holds at rest: with an empty NodeConfig, and with one of 100,000 slots. A real agent with a real dataplane,
 * in a network namespace of its own that is gone afterwards. Run as root with `node bench/agent-memory.ts [SECONDS-OF-REST]`.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { DEFAULT_ALLOCATION } from "../src/model/allocation.ts";
import { formatAddress } from "../src/model/ipv4.ts";
import { DEFAULT_BEHAVIOUR } from "../src/model/nat-behaviour.ts";
import type { GatewayConfig, NodeConfig } from "../src/model/node-config.ts";
import { nodeConfigSchema } from "../src/model/node-config.ts";
import { slotsPerAddress } from "../src/model/slots.ts";
import { checkSchema } from "../src/model/validate.ts";
import { startServer } from "../src/server/server.ts";
import { openMemoryStore } from "../src/store/memory-store.ts";
import type { Store } from "../src/store/store.ts";

const INSIDE_NAMESPACE = "--in-namespace";
const PORTS_PER_SLOT = 1024;
const GATEWAYS = 100;
const ADDRESSES_PER_GATEWAY = 16;
const APPLY_DEADLINE_MS = 60_000;
const ROOT = join(import.meta.dirname, "..");

if (process.argv.includes(INSIDE_NAMESPACE)) await measure(Number(process.argv.at(-1)));
else enterNamespace(process.argv[2] ?? "10");

/** Starts this file again where it disturbs nobody: interfaces and mounts vanish with the process. */
function enterNamespace(restSeconds: string): void {
  const unshare = ["--net", "--mount", "--propagation", "private"];
  const program = [
    process.execPath,
    ...process.execArgv,
    import.meta.filename,
    INSIDE_NAMESPACE,
    restSeconds,
  ];
  execFileSync("unshare", [...unshare, ...program], { stdio: "inherit" });
}

async function measure(restSeconds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "natto-bench-"));
  const store = openMemoryStore();
  prepareNamespace(folder);
  const server = await startServer({
    store,
    host: "127.0.0.1",
    port: 0,
    logger: pino({ level: "silent" }),
  });
  const agent = startAgentProcess(server.url, folder);
  try {
    await store.create<"NodeConfig">(nodeConfig([]));
    await untilApplied(store, agent, 1);
    await delay(restSeconds * 1000);
    report("empty NodeConfig", agent);
    await store.update<"NodeConfig">(nodeConfig(gateways()));
    const slots = GATEWAYS * ADDRESSES_PER_GATEWAY * slotsPerAddress(PORTS_PER_SLOT);
    const ms = await untilApplied(store, agent, 2);
    await delay(restSeconds * 1000);
    report(`${slots} slots (applied and reported after ${Math.round(ms)} ms)`, agent);
  } finally {
    agent.kill("SIGTERM");
    if (agent.exitCode === null) await once(agent, "exit");
    await server.close();
    execFileSync("umount", [join(folder, "bpf")]);
    rmSync(folder, { recursive: true, force: true });
  }
}

function prepareNamespace(folder: string): void {
  const run = (command: string): void => {
    const [program = "", ...args] = command.split(" ");
    execFileSync(program, args);
  };
  run("ip link set lo up");
  for (const side of ["in", "out"]) {
    run(`ip link add ${side}0 type veth peer name ${side}1`);
    run(`ip link set ${side}0 up`);
    run(`ip link set ${side}1 up`);
  }
  mkdirSync(join(folder, "bpf"));
  run(`mount -t bpf bpf ${join(folder, "bpf")}`);
}

function startAgentProcess(url: string, folder: string): ChildProcess {
  const identity = ["--node", "a", "--cell", "main", "--address", "127.0.0.1"];
  const interfaces = ["--inside", "in0", "--outside", "out0"];
  const folders = ["--pin-folder", join(folder, "bpf", "natto"), "--state-folder", join(folder, "state")];
  const args = ["agent", "--store", url, "--max-sessions", "65536", "--log-level", "warn"];
  const stdio = ["ignore", "inherit", "inherit"] as const;
  // bin/natto is a shell script that becomes the agent, so the child's pid is the agent's.
  return spawn(join(ROOT, "bin/natto"), [...args, ...identity, ...interfaces, ...folders], {
    stdio: [...stdio],
  });
}

/** Waits until the agent reports this generation as applied; resolves to the milliseconds that it took. */
async function untilApplied(store: Store, agent: ChildProcess, generation: number): Promise<number> {
  const start = performance.now();
  for (;;) {
    const node = await store.get({ kind: "GatewayNode", name: "a" });
    const elapsed = performance.now() - start;
    if (node?.status?.applied?.generation === generation) return elapsed;
    if (agent.exitCode !== null) throw new Error(`the agent ended with exit code ${agent.exitCode}`);
    if (elapsed > APPLY_DEADLINE_MS) throw new Error(`not applied within ${APPLY_DEADLINE_MS} ms`);
    await delay(5);
  }
}

function report(what: string, agent: ChildProcess): void {
  const status = readFileSync(`/proc/${agent.pid}/status`, "utf8");
  const megabytes = (field: string): string => {
    const kilobytes = Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1]);
    return `${(kilobytes / 1024).toFixed(1)} MB`;
  };
  const parts = `resident ${megabytes("VmRSS")}, of which its own ${megabytes("RssAnon")}`;
  process.stdout.write(`agent at rest, ${what}: ${parts}\n`);
}

function nodeConfig(ofGateways: readonly GatewayConfig[]): NodeConfig {
  return checkSchema(nodeConfigSchema, {
    apiVersion: "natto.dev/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: "a" },
    spec: {
      cell: "main",
      node: { address: "127.0.0.1", interfaces: { inside: "in0", outside: "out0" } },
      vxlan: { port: 4789 },
      peers: [],
      gateways: ofGateways,
    },
  });
}

function gateways(): GatewayConfig[] {
  const slots = slotsPerAddress(PORTS_PER_SLOT);
  return Array.from({ length: GATEWAYS }, (_, g) => ({
    namespace: "bench",
    name: `gateway-${g}`,
    uid: `uid-${g}`,
    sources: [`${formatAddress(0x0a000000 + g * 256)}/24`],
    portsPerSlot: PORTS_PER_SLOT,
    allocation: DEFAULT_ALLOCATION,
    log: "None",
    behaviour: DEFAULT_BEHAVIOUR,
    nodes: ["a"],
    addresses: Array.from({ length: ADDRESSES_PER_GATEWAY }, (_, a) => ({
      address: formatAddress(0xc6120000 + g * ADDRESSES_PER_GATEWAY + a),
      owners: new Array<number>(slots).fill(0),
      backups: new Array<number>(slots).fill(-1),
    })),
  }));
}
