/**
 * The life of one agent as a process, with the real dataplane: run by `agent-command.test.ts` in a network and a mount namespace of
 * their own, which are gone with this program. Exits 0 when everything held.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { nodeConfig } from "../agent/fixtures.ts";
import { startServer } from "../server/server.ts";
import { until } from "../store/fixtures.ts";
import { openMemoryStore } from "../store/memory-store.ts";

const NATTO = join(import.meta.dirname, "../../bin/natto");
const folder = process.argv[2];
assert.ok(folder, "give a folder");
const pinFolder = join(folder, "bpf", "natto");
const stateFolder = join(folder, "state");
const FOLDERS = ["--pin-folder", pinFolder, "--state-folder", stateFolder];
const settings = (): string => readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8");

function run(command: string): string {
  const [program = "", ...args] = command.split(" ");
  return execFileSync(program, args, { encoding: "utf8" });
}

run("ip link set lo up");
for (const name of ["in0", "out0"]) {
  run(`ip link add ${name} type veth peer name peer-${name}`);
  run(`ip link set ${name} up`);
}
mkdirSync(join(folder, "bpf"));
run(`mount -t bpf bpf ${join(folder, "bpf")}`);
const forwardingBefore = settings();

const store = openMemoryStore();
const logger = pino({ level: "silent" });
const server = await startServer({ store, host: "127.0.0.1", port: 0, logger });
const identity = [
  "--node",
  "a",
  "--cell",
  "c1",
  "--address",
  "127.84.0.1",
  "--inside",
  "in0",
  "--outside",
  "out0",
];
const AGENT = ["agent", "--store", server.url, "--max-sessions", "4096", ...identity, ...FOLDERS];

/** Starts an agent that does not outlive this program, however it ends. */
function startAgent(): ChildProcess {
  const agent = spawn(NATTO, AGENT, { stdio: ["ignore", "inherit", "inherit"] });
  process.once("exit", () => agent.kill("SIGKILL"));
  return agent;
}
process.once("SIGTERM", () => process.exit(1));

async function told(type: string): Promise<string | undefined> {
  const node = await store.get({ kind: "GatewayNode", name: "a" });
  return node?.status?.conditions.find((c) => c.type === type)?.reason;
}

/** The numbers of the XDP programs on the two interfaces; they change when a program is loaded anew. */
function programs(): string {
  return (
    run("ip -d link show")
      .match(/xdp\/id:\d+|prog\/xdp id \d+/g)
      ?.join(" ") ?? ""
  );
}

await store.create<"NodeConfig">(nodeConfig(2));
const first = startAgent();
await until(async () => (await told("Ready")) === "Programmed", "the node is ready", 20_000);
const pins = readdirSync(pinFolder);
assert.match(programs(), /\d/, "the program is attached");

const second = spawnSync(NATTO, AGENT, { encoding: "utf8" });
assert.equal(second.status, 8, second.stderr);
assert.match(second.stderr, new RegExp(`process ${first.pid} works in this folder`));
const hasty = spawnSync(NATTO, ["agent", "--cleanup", ...FOLDERS], { encoding: "utf8" });
assert.equal(hasty.status, 8, "no clean-up while an agent runs");

unlinkSync(join(pinFolder, "slots"));
run("sysctl -qw net.ipv4.ip_forward=0");
await until(async () => (await told("Repaired")) === "Drift", "the drift is told");
assert.ok(existsSync(join(pinFolder, "slots")));
assert.equal(settings().trim(), "1");

first.kill("SIGKILL");
await once(first, "exit");
assert.match(programs(), /\d/, "the program stays when the agent is killed");
const afterKill = programs();
await server.close();
const third = startAgent();
await until(
  () => programs() !== afterKill,
  "the next agent takes over from the snapshot, with no store",
  20_000,
);
assert.deepEqual(readdirSync(pinFolder), pins);
third.kill("SIGTERM");
const [code] = await once(third, "exit");
assert.equal(code, 0);
assert.match(programs(), /\d/, "the program stays when the agent is stopped");

const cleaned = spawnSync(NATTO, ["agent", "--cleanup", ...FOLDERS], { encoding: "utf8" });
assert.equal(cleaned.status, 0, cleaned.stderr);
assert.match(cleaned.stdout, /removed snapshot/);
assert.equal(programs(), "");
assert.equal(run("nft list ruleset"), "");
assert.equal(settings(), forwardingBefore);
assert.equal(existsSync(pinFolder) || existsSync(stateFolder), false);
const nothing = spawnSync(NATTO, ["agent", "--cleanup", ...FOLDERS], { encoding: "utf8" });
assert.equal(nothing.stdout, "nothing to remove\n");
process.stdout.write("all of it held\n");
