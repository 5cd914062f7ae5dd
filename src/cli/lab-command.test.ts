import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { requireRoot } from "../lab/lab.ts";
import { freshLabName } from "../lab/lab-name.ts";
import type { LabStatus } from "../lab/lab-status.ts";
import { leftovers } from "../lab/leftovers.ts";
import { identify, isAlive } from "../lab/process-table.ts";
import { readProcess, runFolder } from "../lab/run-folder.ts";
import { type CommandResult, runCommand } from "../run-command.ts";

const NATTO = join(import.meta.dirname, "../../bin/natto");
let folder: string;

before(async () => {
  requireRoot();
  folder = await mkdtemp(join(tmpdir(), "natto-lab-cli-"));
  process.env.NATTO_LAB_DIR = join(folder, "labs");
});

after(async () => {
  await rm(folder, { recursive: true });
});

function natto(...args: string[]): Promise<CommandResult> {
  return runCommand([NATTO, "lab", ...args]);
}

/** A file with a lab of two hosts and one link; `ready` decides whether `up` ever ends. */
async function labFile(name: string, ready: object = {}): Promise<string> {
  const path = join(folder, `${name}.yaml`);
  const ends = {
    a: { host: "a", interface: "eth0", address: "10.0.0.0/31" },
    b: { host: "b", interface: "eth0", address: "10.0.0.1/31" },
  };
  const hosts = [
    { name: "a", role: "endpoint" },
    { name: "b", role: "node", processes: [{ name: "p", command: ["sleep", "1000"], ready }] },
  ];
  const lab = {
    apiVersion: "natto.dev/v1alpha1",
    kind: "Lab",
    metadata: { name },
    spec: { hosts, links: [ends] },
  };
  await writeFile(path, JSON.stringify(lab));
  return path;
}

/** An `up` that waits for ever, once it has come so far as to wait; and the process that it started. */
async function waitingUp(name: string): Promise<{ readonly up: ChildProcess; readonly started: number }> {
  const file = await labFile(name, { log: "never", timeoutSeconds: 300 });
  const up = spawn(NATTO, ["lab", "up", file], { stdio: "ignore" });
  const lab = runFolder(process.env.NATTO_LAB_DIR ?? "", name);
  const deadline = performance.now() + 10_000;
  for (;;) {
    const record = await readProcess(lab, "b", "p");
    if (record) return { up, started: record.pid };
    assert(performance.now() < deadline, "up did not start its process within 10 s");
    await delay(10);
  }
}

test("A lab goes up, shows its status, runs commands with their exit codes, loses and regains links, and goes down twice.", async () => {
  const name = freshLabName("cli");
  const up = await natto("up", await labFile(name));
  assert.equal(up.code, 0, up.stderr);
  assert.match(up.stdout, /HOST +ROLE +ADDRESSES +PROCESSES +LINKS\n/);
  assert.match(up.stdout, /b +node +10\.0\.0\.1 +p \(\d+\) +1 up\n/);

  const exec = await natto(
    "exec",
    "a",
    "--",
    "sh",
    "-c",
    "ping -c1 -W2 10.0.0.1 > /dev/null && echo $1 --name; exit 9",
    "sh",
    "hi",
  );
  assert.deepEqual([exec.code, exec.stdout], [9, "hi --name\n"]);

  assert.equal((await natto("cut", "a")).code, 0);
  const status = JSON.parse((await natto("status", "--output", "json")).stdout) as LabStatus;
  assert.deepEqual(
    status.hosts.map((host) => host.interfaces[0]?.state),
    ["cut", "cut"],
  );
  assert.match(
    (await natto("status", "--output", "wide")).stdout,
    new RegExp(`eth0=b:eth0 \\(cut\\) +natto-${name}-a`),
  );
  assert.match((await natto("status", "--output", "yaml")).stdout, new RegExp(`^name: ${name}\nphase: up\n`));
  assert.equal((await natto("restore", "a")).code, 0);
  assert.equal((await natto("exec", "a", "--", "ping", "-c1", "-W2", "10.0.0.1")).code, 0);

  assert.match((await natto("down")).stdout, /is down: removed 2 namespaces, 1 mounts and ended 1 processes/);
  assert.deepEqual(leftovers(name), []);
  assert.deepEqual(await natto("down"), { code: 0, stdout: "no lab is up\n", stderr: "" });
});

test("With several labs up one must be named, and the error says which there are.", async () => {
  const [first, second] = [freshLabName("one"), freshLabName("two")];
  await natto("up", await labFile(first));
  await natto("up", await labFile(first), "--name", second);
  const status = await natto("status");
  assert.equal(status.code, 2);
  assert.match(
    status.stderr,
    new RegExp(`several labs are up \\(${first}, ${second}\\); choose one with --name`),
  );
  assert.equal((await natto("exec", "--name", second, "a", "--", "true")).code, 0);
  assert.equal((await natto("down", first)).code, 0);
  assert.equal((await natto("down", "--name", second)).code, 0);
  assert.equal((await natto("status")).code, 4);
});

test("An `up` that gets SIGINT or SIGTERM exits as one that was interrupted and leaves nothing behind.", async () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const name = freshLabName("int");
    const { up, started } = await waitingUp(name);
    up.kill(signal);
    assert.deepEqual(await once(up, "exit"), [code, null]);
    assert.deepEqual(leftovers(name), []);
    assert.equal(identify(started), undefined);
  }
});

test("What an `up` leaves that was killed with -9, `down` removes.", async () => {
  const name = freshLabName("kill");
  const { up, started } = await waitingUp(name);
  const id = identify(started);
  up.kill("SIGKILL");
  await once(up, "exit");
  assert(id && isAlive(id));
  assert.match((await natto("status")).stdout, new RegExp(`^lab ${name}: starting`));
  assert.equal((await natto("down", name)).code, 0);
  assert.deepEqual(leftovers(name), []);
  assert.equal(isAlive(id), false);
});

test("A file that is wrong is refused with the field, and nothing is made.", async () => {
  const path = join(folder, "wrong.yaml");
  await writeFile(
    path,
    "apiVersion: natto.dev/v1alpha1\nkind: Lab\nmetadata: {name: wrong}\nspec: {hosts: [{name: a, role: switch}]}\n",
  );
  const up = await natto("up", path);
  assert.equal(up.code, 2);
  assert.match(up.stderr, /Lab wrong is invalid\n\s+spec\.hosts\[0\]\.role: found "switch"/);
  assert.equal(existsSync(join(process.env.NATTO_LAB_DIR ?? "", "wrong")), false);
});

test("What is not the name of a lab is never taken for one, least of all a path.", async () => {
  const down = await natto("down", "../labs");
  assert.equal(down.code, 2);
  assert.match(down.stderr, /'\.\.\/labs' is not a lab's name/);
  assert.equal(existsSync(folder), true);
});
