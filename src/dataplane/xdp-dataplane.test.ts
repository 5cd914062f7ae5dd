/** The dataplane in a real kernel: what is damaged by hand is mended, what is fine is left alone, and clean-up leaves nothing. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, test } from "node:test";
import { DEFAULT_ALLOCATION } from "../model/allocation.ts";
import { DEFAULT_BEHAVIOUR } from "../model/nat-behaviour.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Dataplane, DataplaneOptions, Repair } from "./dataplane.ts";
import * as bpf from "./libbpf.ts";
import { enterSandbox, ip } from "./testing/sandbox.ts";
import { cleanupDataplane, openDataplane } from "./xdp-dataplane.ts";

let options: DataplaneOptions;

const CONFIG: NodeConfig["spec"] = {
  cell: "test",
  node: { address: "10.255.0.1", interfaces: { inside: "in0", outside: "out0" } },
  vxlan: { port: 4789 },
  peers: [{ name: "b", address: "10.255.0.2" }],
  gateways: [
    {
      namespace: "default",
      name: "web",
      uid: "1",
      sources: ["10.0.0.0/24", "10.0.9.0/24"],
      portsPerSlot: 1024,
      allocation: DEFAULT_ALLOCATION,
      log: "None",
      behaviour: DEFAULT_BEHAVIOUR,
      nodes: ["a", "b"],
      addresses: [{ address: "203.0.113.1", owners: Array(63).fill(0), backups: Array(63).fill(1) }],
    },
  ],
};

before(() => {
  const sandbox = enterSandbox();
  options = {
    node: "a",
    pinFolder: join(sandbox.bpffs, "natto"),
    stateFolder: sandbox.state,
    maxSessions: 1024,
  };
  ip(["link add in0 type veth peer name in1", "link add out0 type veth peer name out1"]);
  ip(["in0", "in1", "out0", "out1"].map((name) => `link set ${name} up`));
});

beforeEach(() => cleanupDataplane(options));

async function withDataplane(use: (dataplane: Dataplane) => Promise<void>): Promise<void> {
  const dataplane = openDataplane(options);
  try {
    await use(dataplane);
  } finally {
    dataplane.close();
  }
}

const kinds = (repairs: readonly Repair[]) => [...new Set(repairs.map((r) => r.what))].sort();
const pinned = (name: string) => bpf.openPin(join(options.pinFolder, name))!;
const attached = (name: string) =>
  /prog\/xdp/.test(execFileSync("ip", ["link", "show", "dev", name], { encoding: "utf8" }));

test("a second run finds nothing to do", async () => {
  await withDataplane(async (dataplane) => {
    const first = await dataplane.ensure(CONFIG);
    assert.deepEqual(kinds(first.repairs), ["attach", "guard", "map", "sweeper", "sysctl"]);
    assert.deepEqual((await dataplane.ensure(CONFIG)).repairs, []);
    assert.ok(attached("in0") && attached("out0"));
  });
});

test("entries that somebody deleted or changed come back", async () => {
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    for (const name of ["sources", "addresses", "node_addresses"]) {
      const map = pinned(name);
      const info = bpf.mapInfo(map);
      const { keys, count } = bpf.readEntries(map, info);
      assert.ok(count > 0);
      bpf.remove(map, keys.subarray(0, info.keySize));
      bpf.closeFd(map);
    }
    const slots = pinned("slots");
    bpf.update(slots, Buffer.alloc(4), Buffer.from([1, 0, 1, 0]));
    bpf.closeFd(slots);
    const { repairs } = await dataplane.ensure(CONFIG);
    assert.deepEqual(repairs.map((r) => r.detail).sort(), [
      "addresses: 1 entries",
      "node_addresses: 1 entries",
      "slots: 1 entries",
      "sources: 1 entries",
    ]);
    assert.deepEqual((await dataplane.ensure(CONFIG)).repairs, []);
  });
});

/** Puts a map of another version in place of a pinned one. */
function pinOtherLayout(name: string, valueSize: number): void {
  const path = join(options.pinFolder, name);
  const fd = pinned(name);
  const { keySize, maxEntries } = bpf.mapInfo(fd);
  bpf.closeFd(fd);
  unlinkSync(path);
  const sizes = ["key", `${keySize}`, "value", `${valueSize}`, "entries", `${maxEntries}`];
  execFileSync("bpftool", ["map", "create", path, "type", "array", ...sizes, "name", name]);
}

test("maps of another version's layout are made anew from the configuration, and the sessions are taken over", async () => {
  const key = Buffer.alloc(16, 7);
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    const flows = pinned("flows");
    bpf.update(flows, key, Buffer.alloc(bpf.mapInfo(flows).valueSize));
    bpf.closeFd(flows);
  });
  pinOtherLayout("slots", 4);
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    assert.deepEqual((await dataplane.ensure(CONFIG)).repairs, []);
    const [slots, flows] = [pinned("slots"), pinned("flows")];
    assert.equal(bpf.mapInfo(slots).valueSize, 12);
    assert.ok(bpf.lookup(flows, key, bpf.mapInfo(flows).valueSize), "what the session table held is there");
    bpf.closeFd(slots);
    bpf.closeFd(flows);
  });
});

test("a program that somebody detached is attached again", async () => {
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    unlinkSync(join(options.pinFolder, "link_inside"));
    assert.ok(!attached("in0"));
    assert.deepEqual(kinds((await dataplane.ensure(CONFIG)).repairs), ["attach"]);
    assert.ok(attached("in0"));
  });
});

test("an interface that was made anew is attached again", async () => {
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    ip(["link del in0", "link add in0 type veth peer name in1", "link set in0 up", "link set in1 up"]);
    assert.ok(kinds((await dataplane.ensure(CONFIG)).repairs).includes("attach"));
    assert.ok(attached("in0"));
  });
});

test("an interface that is missing is named, and the rest is done all the same", async () => {
  const config = { ...CONFIG, node: { ...CONFIG.node, interfaces: { inside: "nowhere", outside: "out0" } } };
  await withDataplane(async (dataplane) => {
    await assert.rejects(
      dataplane.ensure(config),
      /interface nowhere \(spec\.interfaces\.inside\) does not exist/,
    );
    assert.ok(attached("out0"));
  });
});

test("settings and guard rules that somebody changed are set again", async () => {
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    writeFileSync("/proc/sys/net/ipv4/ip_forward", "0");
    const { repairs } = await dataplane.ensure(CONFIG);
    assert.deepEqual(kinds(repairs), ["sysctl"]);
    assert.equal(readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim(), "1");
  });
});

test("forwarding outlives the process that set it up, and the next one takes it over without a change", async () => {
  await withDataplane(async (dataplane) => void (await dataplane.ensure(CONFIG)));
  assert.ok(attached("in0") && attached("out0"));
  await withDataplane(async (dataplane) => {
    const { repairs } = await dataplane.ensure(CONFIG);
    assert.deepEqual(
      repairs.filter((r) => r.what === "map" || r.what === "attach"),
      [],
    );
    assert.deepEqual(kinds(repairs), ["guard", "program", "sweeper"]);
  });
});

test("a session table of another size is refused with the size that it has", async () => {
  await withDataplane(async (dataplane) => void (await dataplane.ensure(CONFIG)));
  assert.throws(
    () => openDataplane({ ...options, maxSessions: 2048 }),
    /room for 1024 sessions, not 2048; start with --max-sessions 1024/,
  );
});

test("a pin folder that is not on a BPF file system, or has a dot, is refused with what to do", () => {
  assert.throws(() => openDataplane({ ...options, pinFolder: "/tmp/natto" }), /mount -t bpf bpf/);
  assert.throws(() => openDataplane({ ...options, pinFolder: `${options.pinFolder}.x` }), /'\.' in its path/);
});

test("one interface for everything has one program", async () => {
  const config = { ...CONFIG, node: { ...CONFIG.node, interfaces: { inside: "in0", outside: "in0" } } };
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    await dataplane.ensure(config);
    assert.ok(attached("in0"));
    assert.ok(!attached("out0"));
    await dataplane.ensure(CONFIG);
    assert.ok(attached("in0") && attached("out0"));
  });
});

test("the pair of interfaces for held fragments comes back when it is removed, and is set up when it is down", async () => {
  await withDataplane(async (dataplane) => {
    await dataplane.ensure(CONFIG);
    ip(["link delete natto-held"]);
    const { repairs } = await dataplane.ensure(CONFIG);
    assert.ok(repairs.some(({ detail }) => detail === "natto-held and natto-again made"));
    assert.ok(attached("natto-held") && attached("natto-again"));
    assert.deepEqual((await dataplane.ensure(CONFIG)).repairs, []);
  });
  await withDataplane(async (dataplane) => {
    ip(["link set natto-again down"]);
    const { repairs } = await dataplane.ensure(CONFIG);
    assert.ok(repairs.some(({ detail }) => detail === "natto-again set up"));
  });
});

test("clean-up leaves nothing, gives settings back, and is safe to run again", async () => {
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "0");
  await withDataplane(async (dataplane) => void (await dataplane.ensure(CONFIG)));
  const removed = await cleanupDataplane(options);
  assert.ok(removed.includes("map flows") && removed.includes("nftables table natto"));
  assert.ok(!attached("in0") && !attached("out0"));
  assert.ok(
    bpf.interfaceIndex("natto-held") === undefined && bpf.interfaceIndex("natto-again") === undefined,
  );
  assert.equal(readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim(), "0");
  assert.ok(!existsSync(options.pinFolder));
  assert.equal(execFileSync("nft", ["list", "tables"], { encoding: "utf8" }), "");
  assert.deepEqual(await cleanupDataplane(options), []);
});
