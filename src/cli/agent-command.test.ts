import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../agent/fixtures.ts";

const SCENARIO = join(import.meta.dirname, "agent-command.scenario.ts");
const OBJECT = join(import.meta.dirname, "../../build/natto.bpf.o");

const NATTO = join(import.meta.dirname, "../../bin/natto");

function natto(...args: readonly string[]) {
  return spawnSync(NATTO, ["agent", ...args], { encoding: "utf8", timeout: 20_000 });
}

const GOOD = [
  "--node",
  "a",
  "--cell",
  "c1",
  "--store",
  "memory:",
  "--address",
  "192.0.2.1",
  "--inside",
  "in0",
];

test("an agent that is not told enough names each flag that is missing", () => {
  const { status, stderr } = natto(...GOOD);
  assert.equal(status, 2);
  assert.match(stderr, /--outside: is required/);
  assert.doesNotMatch(stderr, /--inside/);
});

test("a flag with a value that cannot be is refused with what is allowed", async (t) => {
  const folder = await temporaryFolder(t);
  const folders = ["--pin-folder", join(folder, "pins"), "--state-folder", join(folder, "state")];
  const refusals: readonly [RegExp, readonly string[]][] = [
    [/zone=rack-1/, ["--label", "rack-1"]],
    [/whole number from 1024 to/, ["--max-sessions", "many"]],
    [/spec\.address: .*write it like 192\.0\.2\.10/, ["--address", "192.0.2"]],
    [/spec\.interfaces\.inside/, ["--inside", "an interface"]],
    [/not a store that Natto knows/, ["--store", "ftp://x"]],
  ];
  for (const [expected, args] of refusals) {
    const { status, stderr } = natto(...GOOD, "--outside", "out0", ...folders, ...args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, expected);
  }
  assert.equal(existsSync(join(folder, "pins")), false, "nothing was made");
});

test("an agent with the real dataplane starts, repairs, survives SIGKILL and no store, stops and cleans up", async (t) => {
  assert.equal(process.getuid?.(), 0, "run this test as root: it makes a network namespace");
  assert.ok(existsSync(OBJECT), "the dataplane is not compiled; run 'make bpf'");
  const folder = await temporaryFolder(t);
  const own = ["--net", "--mount", "--propagation", "private"];
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", SCENARIO, folder];
  const { status, stdout, stderr } = spawnSync("unshare", [...own, ...node], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /all of it held/);
});
