import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { natCloud } from "./clouds.ts";
import { type Lab, openLab, requireRoot, upLab } from "./lab.ts";
import type { LabInput } from "./lab-file.ts";
import { freshLabName } from "./lab-name.ts";
import { labStatus } from "./lab-status.ts";
import { leftovers } from "./leftovers.ts";
import { identify, isAlive, type ProcessId } from "./process-table.ts";
import { bpfFolder } from "./run-folder.ts";
import { downLab, namespacesOf } from "./teardown.ts";
import { httpRequests, serverFlows, startEchoServer, startProber } from "./traffic/traffic.ts";

const SERVER = "198.51.100.11";

before(async () => {
  requireRoot();
  process.env.NATTO_LAB_DIR = await mkdtemp(join(tmpdir(), "natto-lab-test-"));
});

after(async () => {
  if (process.env.NATTO_LAB_DIR) await rm(process.env.NATTO_LAB_DIR, { recursive: true });
});

/** One host that may run processes. */
function tinyLab(name: string, host: object = {}): LabInput {
  const spec = { hosts: [{ name: "a", role: "node" as const, ...host }] };
  return { apiVersion: "natto.dev/v1alpha1", kind: "Lab", metadata: { name }, spec };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    assert(performance.now() < deadline, `not within 10 s: ${what}`);
    await delay(10);
  }
}

async function output(lab: Lab, host: string, ...argv: string[]): Promise<string> {
  const { stdout, stderr, code } = await lab.exec(host, argv);
  assert.equal(code, 0, `${argv.join(" ")}: ${stderr}`);
  return stdout;
}

/** Packets that a device has taken in. */
async function received(lab: Lab, host: string, device: string): Promise<number> {
  const table = await output(lab, host, "cat", "/proc/self/net/dev");
  const line = table.split("\n").find((text) => text.trim().startsWith(`${device}:`));
  return Number(line?.split(":")[1]?.trim().split(/\s+/)[1]);
}

test("A lab that is taken down leaves no namespace, mount, process or folder behind, not even by what hid in it.", async () => {
  const name = freshLabName("down");
  const lab = await upLab(natCloud({ name, nodes: 2, endpoints: 2, run: "traffic" }));
  assert.equal(namespacesOf(name).length, 8);
  assert(existsSync(bpfFolder(lab.folder, "node1")));
  // A grandchild in a session of its own, whose parent is gone: nobody recorded it.
  const stray = await output(lab, "ep1", "sh", "-c", "setsid sleep 1000 > /dev/null 2>&1 & echo $!");
  const deaf = await lab.spawn("ep2", ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], {
    name: "deaf",
  });
  const ids = [Number(stray), deaf.pid, (await lab.process("server1", "echo")).pid].map((pid) =>
    identify(pid),
  );
  assert(ids.every((id): id is ProcessId => id !== undefined));
  await lab.down();
  assert.deepEqual(leftovers(name), []);
  assert.deepEqual(ids.filter(isAlive), []);
  assert.deepEqual(await downLab(name), { lab: name, processes: 0, namespaces: 0, mounts: 0 });
});

test("A lab that is up cannot be brought up a second time, and goes on undisturbed.", async () => {
  const name = freshLabName("twice");
  await using lab = await upLab(tinyLab(name));
  await assert.rejects(upLab(tinyLab(name)), { code: "AlreadyExists", message: /is up.*natto lab down/ });
  assert.equal(await output(lab, "a", "echo", "still here"), "still here\n");
});

test("A lab of the same name in another folder is neither disturbed nor taken down.", async () => {
  const name = freshLabName("other");
  await using lab = await upLab(tinyLab(name));
  const own = process.env.NATTO_LAB_DIR;
  try {
    process.env.NATTO_LAB_DIR = `${own}/elsewhere`;
    await assert.rejects(upLab(tinyLab(name)), { code: "AlreadyExists", message: /another NATTO_LAB_DIR/ });
    assert.equal((await downLab(name)).namespaces, 0);
  } finally {
    process.env.NATTO_LAB_DIR = own;
  }
  assert.equal(await output(lab, "a", "echo", "still here"), "still here\n");
});

test("Two labs with the same addresses do not see each other.", async () => {
  const names = [freshLabName("left"), freshLabName("right")] as const;
  const cloud = (name: string) =>
    natCloud({ name, nodes: 1, endpoints: 1, run: "traffic", plainForwarding: true });
  await using left = await upLab(cloud(names[0]));
  await using right = await upLab(cloud(names[1]));
  const prober = await startProber(left, "ep1", { server: SERVER, udp: 3 });
  await prober.answered();
  await prober.stop();
  assert.equal((await serverFlows(left, "server1")).length, 3);
  assert.equal((await serverFlows(right, "server1")).length, 0);
});

test("An `up` that fails half-way says why and leaves nothing behind.", async () => {
  const name = freshLabName("fails");
  const dies = { name: "dies", command: ["sh", "-c", "echo I cannot >&2; exit 3"], ready: { tcp: 1 } };
  await assert.rejects(upLab(tinyLab(name, { processes: [dies] })), {
    code: "Environment",
    message: /a: process dies ended before it was ready; its last words: I cannot/,
  });
  assert.deepEqual(leftovers(name), []);
  await assert.rejects(upLab(tinyLab(name, { sysctls: { "net.ipv4.no_such_thing": 1 } })), {
    code: "Environment",
    message: /cannot set up host a: .*no_such_thing/,
  });
  assert.deepEqual(leftovers(name), []);
});

test("An `up` that is interrupted at any step leaves nothing behind.", async () => {
  const name = freshLabName("stops");
  const never = { name: "waits", command: ["sleep", "1000"], ready: { log: "never", timeoutSeconds: 300 } };
  const cloud = natCloud({ name, nodes: 2, endpoints: 3, run: "traffic" });
  cloud.spec.hosts?.push({ name: "z", role: "server", processes: [never] });
  const steps = [
    () => namespacesOf(name).length > 0,
    () => namespacesOf(name).length === 10,
    () => leftovers(name).some((what) => what.includes("bpf")),
    () => existsSync(join(process.env.NATTO_LAB_DIR ?? "", name, "processes", "z.waits.json")),
  ];
  for (const step of steps) {
    const interruption = new AbortController();
    const up = upLab(cloud, { signal: interruption.signal });
    const outcome = assert.rejects(up, /enough/);
    await until("the step is reached", step);
    interruption.abort(new Error("enough"));
    await outcome;
    assert.deepEqual(leftovers(name), []);
  }
});

test("A command in a host gives back its output and exit code, takes input, and is killed when it takes too long.", async () => {
  await using lab = await upLab(tinyLab(freshLabName("exec")));
  assert.deepEqual(await lab.exec("a", ["sh", "-c", "cat; echo bad >&2; exit 7"], { input: "good" }), {
    stdout: "good",
    stderr: "bad\n",
    code: 7,
  });
  assert.equal((await lab.exec("a", ["sh", "-c", "kill -KILL $$"])).code, 137);
  await assert.rejects(lab.exec("a", ["sh", "-c", "echo last; sleep 1000"], { timeoutMs: 100 }), {
    code: "Unavailable",
    message: /did not end within 100 ms/,
  });
  await assert.rejects(lab.exec("a", ["sh", "-c", "setsid sleep 1000 &"], { timeoutMs: 100 }), {
    code: "Unavailable",
  });
  await assert.rejects(async () => lab.exec("b", ["true"]), {
    code: "NotFound",
    message: /no host b; its hosts are a/,
  });
});

test("A process can be found, watched and killed, also by who did not start it.", async () => {
  const name = freshLabName("procs");
  await using lab = await upLab(
    tinyLab(name, {
      processes: [{ name: "p", command: ["sh", "-c", "echo $(HOST); exec sleep 1000"], ready: { log: "a" } }],
    }),
  );
  const spawned = await lab.spawn("a", ["sh", "-c", "read line; echo got $line; exit 5"], {
    name: "reader",
    stdin: "pipe",
  });
  await assert.rejects(lab.spawn("a", ["true"], { name: "reader" }), { code: "AlreadyExists" });
  spawned.stdin?.end("it\n");
  assert.deepEqual(await spawned.exited(), { code: 5, signal: null });
  assert.equal(await spawned.stdout(), "got it\n");
  const found = await (await openLab(name)).process("a", "p");
  assert.equal(await found.stdout(), "a\n");
  assert.equal(found.kill("SIGKILL"), true);
  await found.exited();
  assert.equal(found.kill(), false);
  const [host] = (await labStatus(lab)).hosts;
  assert.deepEqual(
    host?.processes.map((p) => [p.name, p.state]),
    [
      ["p", "ended"],
      ["reader", "ended"],
    ],
  );
});

test("The fabric spreads flows over all nodes, and over those that are left as soon as the links of one are cut.", async () => {
  await using lab = await upLab(
    natCloud({ name: freshLabName("ecmp"), endpoints: 4, run: "traffic", plainForwarding: true }),
  );
  const nodes = ["node1", "node2", "node3"];
  const counters = () => Promise.all(nodes.map((node) => received(lab, node, "inside")));
  /** Packets that each node takes from inside while 400 flows send at least one each. */
  const shares = async () => {
    const start = await counters();
    const endpoints = ["ep1", "ep2", "ep3", "ep4"];
    const probers = await Promise.all(
      endpoints.map((ep) => startProber(lab, ep, { server: SERVER, udp: 100, rate: 5 })),
    );
    await Promise.all(probers.map((prober) => prober.answered()));
    for (const prober of probers) {
      for (const flow of (await prober.stop()).udp) assert.equal(flow.answered, flow.sent);
    }
    const end = await counters();
    return end.map((count, i) => count - (start[i] ?? 0));
  };
  const fair = (list: readonly number[]) => {
    const total = list.reduce((sum, n) => sum + n, 0);
    for (const n of list) assert(n > total / list.length / 2, `too uneven: ${list}`);
  };
  fair(await shares());
  await lab.cutLinks("node1");
  const [dead, ...left] = await shares();
  assert.equal(dead, 0);
  fair(left);
  await lab.restoreLinks("node1");
  fair(await shares());
  assert.equal((await lab.exec("node1", ["ping", "-c1", "-W2", "10.254.0.2"])).code, 0);
});

test("Routers notice by the loss of carrier when only a node's own end of its links goes down.", async () => {
  await using lab = await upLab(
    natCloud({
      name: freshLabName("carrier"),
      nodes: 2,
      endpoints: 1,
      run: "traffic",
      plainForwarding: true,
    }),
  );
  for (const device of ["inside", "outside"]) await output(lab, "node1", "ip", "link", "set", device, "down");
  for (const router of ["fabric-in", "fabric-out"]) {
    await until(`${router} notices`, async () =>
      /dev node1 weight 1 .*linkdown/.test(await output(lab, router, "ip", "route")),
    );
  }
  const prober = await startProber(lab, "ep1", { server: SERVER, udp: 50 });
  await prober.answered();
  for (const flow of (await prober.stop()).udp) assert.equal(flow.answered, flow.sent);
});

test("Links that are cut one after the other come back one after the other, with all their routes.", async () => {
  await using lab = await upLab(
    natCloud({ name: freshLabName("cuts"), nodes: 2, endpoints: 1, run: "traffic", plainForwarding: true }),
  );
  const routes = () =>
    Promise.all(["fabric-in", "fabric-out", "node1", "node2"].map((h) => output(lab, h, "ip", "route")));
  const sorted = async () => (await routes()).map((text) => text.split("\n").sort());
  const atFirst = await sorted();
  await lab.cutLinks("node1", { management: true });
  await lab.cutLinks("node2");
  assert.notEqual((await lab.exec("ep1", ["ping", "-c1", "-W1", SERVER])).code, 0);
  assert.notEqual((await lab.exec("node1", ["ping", "-c1", "-W1", "172.31.0.1"])).code, 0);
  assert.equal((await lab.exec("node2", ["ping", "-c1", "-W2", "172.31.0.1"])).code, 0);
  // Another process may do that: what is cut is on disk.
  const other = await openLab(lab.name);
  await other.restoreLinks("node2");
  assert.equal((await lab.exec("ep1", ["ping", "-c1", "-W2", SERVER])).code, 0);
  await lab.restoreLinks("node1");
  assert.deepEqual(await sorted(), atFirst);
});

test("Not a packet is lost when the links of a node come back.", async () => {
  await using lab = await upLab(
    natCloud({ name: freshLabName("back"), nodes: 2, endpoints: 1, run: "traffic", plainForwarding: true }),
  );
  await lab.cutLinks("node1");
  const prober = await startProber(lab, "ep1", { server: SERVER, udp: 100, rate: 50 });
  await prober.answered();
  const before = await received(lab, "node1", "inside");
  await lab.restoreLinks("node1");
  await until("node1 carries flows", async () => (await received(lab, "node1", "inside")) > before + 500);
  for (const flow of (await prober.stop()).udp) assert.equal(flow.answered, flow.sent);
});

test("The management network reaches the control host and nothing else.", async () => {
  await using lab = await upLab(
    natCloud({ name: freshLabName("mgmt"), nodes: 2, endpoints: 1, run: "traffic", plainForwarding: true }),
  );
  const reaches = async (host: string, target: string) =>
    (await lab.exec(host, ["ping", "-c1", "-W1", target])).code === 0;
  assert.equal(await reaches("node1", "172.31.0.1"), true);
  assert.equal(await reaches("control", "172.31.0.12"), true);
  assert.equal(await reaches("node1", "172.31.0.12"), false, "nodes must not reach each other by it");
  assert.equal(await reaches("ep1", "172.31.0.1"), false, "endpoints must not reach it");
  assert.equal(await reaches("control", "10.0.0.11"), false, "the control host must not reach endpoints");
});

test("HTTP bodies arrive intact at full size, and the server tells whom it sees.", async () => {
  await using lab = await upLab(
    natCloud({ name: freshLabName("http"), nodes: 1, endpoints: 1, run: "traffic", plainForwarding: true }),
  );
  const urls = [`http://${SERVER}/whoami`, `http://${SERVER}/bytes/10000000`];
  const [whoami, body] = await httpRequests(lab, "ep1", { urls, localPort: 5000 });
  assert.equal(whoami?.text, "10.0.0.11:5000\n");
  assert.equal(body?.outside, "10.0.0.11:5001");
  assert.equal(body?.bytes, 10_000_000);
  assert.equal(body?.intact, true);
  const [upload] = await httpRequests(lab, "ep1", { urls: [`http://${SERVER}/upload`], upload: 1_000_000 });
  assert.equal(upload?.intact, true);
  const [nobody] = await httpRequests(lab, "ep1", { urls: ["http://10.0.0.99/whoami"], timeoutMs: 200 });
  assert.equal(nobody?.status, undefined);
  assert.match(nobody?.error ?? "", /abort|timeout|EHOSTUNREACH|EINVAL/i);
});

test("An echo server that is started by hand is found by its flows.", async () => {
  const file = join(process.env.NATTO_LAB_DIR ?? "", "lab.json");
  await writeFile(file, JSON.stringify(tinyLab(freshLabName("hand"))));
  await using lab = await upLab(file);
  const server = await startEchoServer(lab, "a");
  const prober = await startProber(lab, "a", { server: "127.0.0.1", udp: 2, localPort: 6000 });
  await prober.answered();
  const report = await prober.stop();
  const flows = await serverFlows(lab, "a");
  assert.deepEqual(
    flows.map((flow) => flow.received),
    report.udp.map((flow) => flow.sent),
  );
  assert.deepEqual(
    flows.map((flow) => flow.outside),
    [["127.0.0.1:6000"], ["127.0.0.1:6001"]],
  );
  server.kill();
  await server.exited();
  assert.match(await server.stdout(), /"event":"flows"/);
  await rm(file);
});
