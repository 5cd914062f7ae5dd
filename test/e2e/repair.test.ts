/** Somebody changes a node by hand behind Natto's back: it is mended and told, and meanwhile nothing leaves un-translated. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { gatewayReady, listObjects, natto } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import {
  assertNothingLost,
  describedCondition,
  hostsOf,
  killHard,
  leavesNothing,
  nodeFolders,
  nothingFor,
  PATIENCE_MS,
  pinnedEntries,
  run,
  SERVER,
  seenOutside,
  until,
  useCloud,
  watchOutside,
  whileProbing,
} from "./fixture.ts";

const NODE = "node1";
/** Whom nobody has changed by hand. */
const RETIRED = "node2";
/** Natto promises to mend, and to tell, within this. */
const REPAIRED_WITHIN_MS = 10_000;
const SETTINGS = ["accept_local", "send_redirects", "rp_filter", "forwarding"];

/** Settings of the node's interfaces before an agent ever ran; by the time a test begins it has. */
const KERNEL_DEFAULTS: Readonly<Record<string, string>> = {
  accept_local: "0",
  send_redirects: "1",
  // The lab's.
  rp_filter: "0",
  forwarding: "1",
};

const cloud = useCloud("repair", { endpoints: 6, prepare: watchOutside });

const pin = (lab: Lab, name: string) => `${nodeFolders(lab, NODE).pins}/${name}`;

async function bpftool(lab: Lab, ...args: readonly string[]): Promise<string> {
  return run(lab, NODE, "bpftool", "-j", ...args);
}

/** The id of the program attached to an interface of the node; undefined when there is none. */
async function attached(lab: Lab, device: string, node = NODE): Promise<number | undefined> {
  const [link] = JSON.parse(await run(lab, node, "ip", "-j", "-d", "link", "show", "dev", device)) as [
    { readonly xdp?: { readonly prog?: { readonly id: number } } },
  ];
  return link.xdp?.prog?.id;
}

/** Does some damage, and waits until it is mended and people are told of it in these words. */
async function damageIsRepaired(
  lab: Lab,
  what: string,
  damage: () => Promise<unknown>,
  isWhole: () => Promise<boolean>,
  told: RegExp,
): Promise<void> {
  assert(await isWhole(), `${what} was whole before`);
  await damage();
  await until(`${what} is repaired`, isWhole, REPAIRED_WITHIN_MS);
  const look = async () => told.test(await describedCondition(lab, NODE, "Repaired"));
  await until(`the repair of ${what} is told by natto describe`, look, REPAIRED_WITHIN_MS);
}

/** In the way that bpftool wants them. */
const bytes = (hex: string) => hex.match(/../g) ?? [];

test("Entries that are deleted from or changed in the maps are put back, and the condition says so.", async () => {
  const lab = cloud();
  for (const map of ["sources", "addresses"]) {
    const before = pinnedEntries(lab, NODE, map);
    assert(before.size > 0);
    await damageIsRepaired(
      lab,
      map,
      async () => {
        for (const key of before.keys()) {
          await bpftool(lab, "map", "delete", "pinned", pin(lab, map), "key", "hex", ...bytes(key));
        }
      },
      async () => isDeepStrictEqual(pinnedEntries(lab, NODE, map), before),
      new RegExp(`True +\\S+ +Drift .*${map}`),
    );
  }
  const slots = pinnedEntries(lab, NODE, "slots");
  const nobody = "f".repeat(24);
  const owned = [...slots].filter(([, value]) => value !== nobody).slice(0, 5);
  assert.equal(owned.length, 5);
  await damageIsRepaired(
    lab,
    "slots",
    async () => {
      for (const [key] of owned) {
        const entry = ["key", "hex", ...bytes(key), "value", "hex", ...bytes(nobody)];
        await bpftool(lab, "map", "update", "pinned", pin(lab, "slots"), ...entry);
      }
    },
    async () => isDeepStrictEqual(pinnedEntries(lab, NODE, "slots"), slots),
    /True +\S+ +Drift .*slots/,
  );
  const stage = ["pinned", pin(lab, "stages"), "key", "hex", ...bytes("00000000")];
  await damageIsRepaired(
    lab,
    "the first stage",
    () => bpftool(lab, "map", "delete", ...stage),
    async () => (await lab.exec(NODE, ["bpftool", "map", "lookup", ...stage])).code === 0,
    /True +\S+ +Drift .*stages: natto_inward/,
  );
});

test("A program that is detached by hand, and a link whose pin is removed, are attached again.", async () => {
  const lab = cloud();
  await damageIsRepaired(
    lab,
    "the program on the inside",
    () => bpftool(lab, "link", "detach", "pinned", pin(lab, "link_inside")),
    async () => (await attached(lab, "inside")) !== undefined,
    /True +\S+ +Drift .*attached to inside/,
  );
  await damageIsRepaired(
    lab,
    "the program on the outside",
    () => run(lab, NODE, "rm", pin(lab, "link_outside")),
    async () => (await attached(lab, "outside")) !== undefined,
    /True +\S+ +Drift .*attached to outside/,
  );
});

test("The guard's table and the kernel settings are put back.", async () => {
  const lab = cloud();
  await damageIsRepaired(
    lab,
    "the guard",
    () => run(lab, NODE, "nft", "delete", "table", "ip", "natto"),
    async () =>
      (await lab.exec(NODE, ["nft", "list", "table", "ip", "natto"])).stdout.includes("10.0.0.0/24"),
    /True +\S+ +Drift .*nftables table natto/,
  );
  await damageIsRepaired(
    lab,
    "forwarding",
    () => run(lab, NODE, "sysctl", "-qw", "net.ipv4.ip_forward=0"),
    async () => (await run(lab, NODE, "sysctl", "-n", "net.ipv4.ip_forward")).trim() === "1",
    /True +\S+ +Drift .*ip_forward: 0 -> 1/,
  );
});

test("After all these repairs every endpoint is served without loss.", async () => {
  assertNothingLost(await whileProbing(cloud(), { flows: 8 }, () => nothingFor(2)));
  assert.equal((await seenOutside(cloud())).untranslated, 0);
});

/** Packets of many flows from each endpoint to a port outside where nobody listens, so that some go by way of every node. */
async function sendMany(lab: Lab): Promise<void> {
  const script = `import { createSocket } from "node:dgram";
    for (let i = 0; i < 50; i++) {
      const socket = createSocket("udp4");
      await new Promise((done) => socket.send("hello", 9, "${hostAddress(lab, SERVER)}", () => socket.close(done)));
    }`;
  for (const host of hostsOf(lab, "endpoint"))
    await run(lab, host, "node", "--input-type=module", "-e", script);
}

test("While the program is detached and no agent mends it, the guard lets nothing leave un-translated.", async () => {
  const lab = cloud();
  const before = await seenOutside(lab);
  const agent = await lab.process(NODE, "agent");
  agent.kill("SIGSTOP");
  try {
    await bpftool(lab, "link", "detach", "pinned", pin(lab, "link_inside"));
    await sendMany(lab);
    assert.equal((await seenOutside(lab)).untranslated, before.untranslated);
    // That this would have been seen: without the guard the same packets do leave.
    await run(lab, NODE, "nft", "delete", "table", "ip", "natto");
    await sendMany(lab);
    assert((await seenOutside(lab)).untranslated > before.untranslated, "the guard is what held them back");
  } finally {
    agent.kill("SIGCONT");
  }
  await until(
    "the node is mended",
    async () => (await attached(lab, "inside")) !== undefined,
    REPAIRED_WITHIN_MS,
  );
  await until(
    "the guard is back",
    async () => (await lab.exec(NODE, ["nft", "list", "table", "ip", "natto"])).code === 0,
  );
});

test("After natto agent --cleanup nothing of Natto's is left on a node, and its kernel settings are as they were.", async () => {
  const lab = cloud();
  const { pins, state } = nodeFolders(lab, RETIRED);
  await gatewayReady(lab, "web", PATIENCE_MS);
  const refused = await lab.exec(RETIRED, [
    "natto",
    "agent",
    "--cleanup",
    "--pin-folder",
    pins,
    "--state-folder",
    state,
  ]);
  assert.equal(refused.code, 8, "cleanup is refused while the agent runs");
  await killHard(lab, RETIRED, "agent");
  assert((await pinsIn(pins)).includes("link_inside"));
  assert.equal(await setting(lab, "accept_local"), "1");
  const text = await run(
    lab,
    RETIRED,
    "natto",
    "agent",
    "--cleanup",
    "--pin-folder",
    pins,
    "--state-folder",
    state,
  );
  assert.match(text, /XDP program \(inside\)/);
  assert.deepEqual(await pinsIn(pins), []);
  assert.equal(await attached(lab, "inside", RETIRED), undefined);
  assert.equal(await attached(lab, "outside", RETIRED), undefined);
  assert.equal(await run(lab, RETIRED, "nft", "list", "tables"), "");
  assert.doesNotMatch(await run(lab, RETIRED, "ip", "-br", "link"), /natto-/);
  for (const name of SETTINGS) assert.equal(await setting(lab, name), KERNEL_DEFAULTS[name], name);
  const again = await run(
    lab,
    RETIRED,
    "natto",
    "agent",
    "--cleanup",
    "--pin-folder",
    pins,
    "--state-folder",
    state,
  );
  assert.doesNotMatch(again, /XDP|map|nftables|setting/);
});

/** Without the two files that the kernel itself puts into every BPF file system. */
async function pinsIn(folder: string): Promise<readonly string[]> {
  return (await readdir(folder)).filter((name) => !name.endsWith(".debug"));
}

async function setting(lab: Lab, name: string): Promise<string> {
  return (await run(lab, RETIRED, "sysctl", "-n", `net.ipv4.conf.inside.${name}`)).trim();
}

test("A node that is retired like that loses its slots to the others, who serve all endpoints.", async () => {
  const lab = cloud();
  await lab.cutLinks(RETIRED);
  await until("it owns nothing", async () => {
    const [gateway] = await listObjects(lab, "NatGateway");
    return gateway?.status?.owners[RETIRED] === undefined;
  });
  await natto(lab, ["delete", "node", RETIRED]);
  await gatewayReady(lab, "web", PATIENCE_MS);
  const report = await whileProbing(lab, { flows: 4 }, () => nothingFor(1));
  assertNothingLost(report);
  assert.deepEqual([...new Set(report.flows.map((f) => f.path.owner))].sort(), ["node1", "node3"]);
});

leavesNothing(cloud);
