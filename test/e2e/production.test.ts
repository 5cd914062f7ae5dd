/** docs/production.md, command by command, on machines with a systemd of their own: what it says works, and traffic flows. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import { natCloud } from "../../src/lab/clouds.ts";
import { type Lab, upLab } from "../../src/lab/lab.ts";
import { freshLabName } from "../../src/lab/lab-name.ts";
import { leftovers } from "../../src/lab/leftovers.ts";
import { startProber } from "../../src/lab/traffic/traffic.ts";
import { runOrThrow } from "../../src/run-command.ts";
import { bootMachine, type Machine } from "../machine/boot-machine.ts";
import { PATIENCE_MS, SERVER, seenOutside, until, watchOutside } from "./fixture.ts";

const NODES = ["node1", "node2"] as const;
const NATTO = join(import.meta.dirname, "../..");
const UNITS = ["etcd", "consul", "natto-controller", "natto-server"];

let lab: Lab;
let control: Machine;
let nodes: ReadonlyMap<string, Machine>;
const running = new AsyncDisposableStack();

before(
  async () => {
    lab = await upLab(
      natCloud({ name: freshLabName("prod"), nodes: NODES.length, endpoints: 4, run: "traffic" }),
    );
    running.defer(() => lab.down());
    await watchOutside(lab);
    const boot = async (host: string) =>
      running.use(await bootMachine(host, `/run/netns/${lab.host(host).namespace}`));
    control = await boot("control");
    nodes = new Map(await Promise.all(NODES.map(async (node) => [node, await boot(node)] as const)));
    // What the page leaves to people: names, and a Consul on the PATH.
    const consul = await runOrThrow("find Consul", [join(NATTO, "scripts/find-consul")]);
    const link = `ln -s ${consul.trim().replace(NATTO, "/opt/natto")} /usr/local/bin/consul`;
    const name = `echo "${lab.topology.managementAddress} control" >> /etc/hosts`;
    for (const machine of [control, ...nodes.values()]) await machine.sh(`${name}\n${link}`);
  },
  { timeout: 2 * PATIENCE_MS },
);

after(() => running.disposeAsync());

interface Step {
  /** `every`, `control` or `node`. */
  readonly where: string;
  readonly script: string;
}

/** The commands of the page: its code blocks that say on which machines they are meant to run, in order. */
async function stepsOf(page: string): Promise<readonly Step[]> {
  const text = await readFile(join(import.meta.dirname, "../../docs", page), "utf8");
  return [...text.matchAll(/^```sh (\w+)\n(.*?)^```$/gms)].map(([, where = "", script = ""]) => ({
    where,
    script,
  }));
}

const TLS = "/etc/natto/tls";
/** "Bring …": what the page tells people to carry to the nodes, from where to where. */
const CARRIED = [
  ["/etc/natto/ca/ca.pem", "ca.pem"],
  ["/etc/natto/ca/agent-NODE.pem", "agent.pem"],
  ["/etc/natto/ca/agent-NODE.key", "agent.key"],
  [`${TLS}/consul.pem`, "consul.pem"],
  [`${TLS}/consul.key`, "consul.key"],
  [`${TLS}/gossip.key`, "gossip.key"],
  [`${TLS}/consul-machines.token`, "consul-machines.token"],
  [`${TLS}/natto-agents.token`, "natto-agents.token"],
] as const;

/** Carries what there is by now. */
async function carryFiles(): Promise<void> {
  for (const [name, machine] of nodes) {
    for (const [from, to] of CARRIED) {
      const { code, stdout: input } = await control.exec(["cat", from.replace("NODE", name)]);
      if (code !== 0) continue;
      const place = ["sh", "-c", `umask 077; mkdir -p ${TLS}; cat > ${TLS}/${to}`];
      assert.equal((await machine.exec(place, { input })).code, 0);
    }
  }
}

async function isActive(machine: Machine, unit: string): Promise<boolean> {
  return (await machine.exec(["systemctl", "is-active", unit])).stdout.trim() === "active";
}

async function ready(what: "nodes" | "gateways", count: number): Promise<void> {
  await until(`${count} ${what} are ready`, async () => {
    const { items } = JSON.parse(await control.sh(`natto get ${what} -A -o json`)) as {
      readonly items: readonly {
        readonly status?: { readonly conditions?: readonly { type: string; status: string }[] };
      }[];
    };
    const isReady = (item: (typeof items)[number]) =>
      item.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
    return items.filter(isReady).length === count;
  });
}

test("Every command of the page works as it stands there.", async () => {
  const steps = await stepsOf("production.md");
  assert(steps.length >= 8);
  const machinesOf = new Map([
    ["every", [control, ...nodes.values()]],
    ["control", [control]],
    ["node", [...nodes.values()]],
  ]);
  for (const { where, script } of steps) {
    if (where !== "control") await carryFiles();
    const machines = machinesOf.get(where);
    assert(machines, `a step for ${where}`);
    for (const machine of machines) await machine.sh(script);
  }
  for (const unit of UNITS) assert(await isActive(control, unit), unit);
  await ready("nodes", NODES.length);
  await ready("gateways", 1);
});

test("Traffic leaves translated, and goes on without loss while every process of Natto is restarted.", async () => {
  const options = { server: hostAddress(lab, SERVER), udp: 4, tcp: 2, rate: 20 };
  const prober = await startProber(lab, "ep1", options);
  const flows = await prober.answered(PATIENCE_MS);
  for (const { outside } of flows) assert.match(outside, /^203\.0\.113\.\d+:/);
  for (const [name, machine] of nodes) {
    await machine.sh("systemctl restart natto-agent");
    await until(`the agent of ${name} runs`, () => isActive(machine, "natto-agent"));
  }
  await control.sh("systemctl restart natto-controller natto-server etcd");
  await ready("nodes", NODES.length);
  const { udp, tcp } = await prober.stop();
  for (const { sent, answered, outside } of udp) {
    assert.deepEqual([sent - answered, outside.length], [0, 1]);
  }
  assert.deepEqual(
    tcp.map((flow) => flow.broken),
    [undefined, undefined],
  );
  const { untranslated, translated } = await seenOutside(lab);
  assert(translated > 0);
  assert.equal(untranslated, 0);
});

test("A node may tell of itself, and change nothing else.", async () => {
  const node1 = nodes.get("node1");
  assert(node1);
  const asAgent = '. /etc/natto/agent.env; natto --server "$NATTO_STORE"';
  for (const [command, permitted] of [
    ["get nodes", true],
    ["delete node node2", false],
    ["delete gateway web -n team-a", false],
  ] as const) {
    const { code, stderr } = await node1.exec(["sh", "-c", `${asAgent} ${command}`], {
      timeoutMs: PATIENCE_MS,
    });
    assert.equal(code === 0, permitted, `${command}: ${stderr}`);
    if (!permitted) assert.match(stderr, /permission denied/i);
  }
  await ready("nodes", NODES.length);
});

test("The machines and the cloud leave nothing behind.", async () => {
  await running.disposeAsync();
  assert.deepEqual(leftovers(lab.name), []);
});
