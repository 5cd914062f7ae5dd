import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Session } from "../dataplane/dataplane.ts";
import { nodeConfig } from "../model/fixtures.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { validateObject } from "../model/validate.ts";
import { heldSession } from "./fixtures.ts";
import { gatherSessions } from "./gather.ts";
import { type ObserverOptions, startObserver } from "./observer.ts";

const { spec: CONFIG } = nodeConfig(1);
const [GATEWAY] = CONFIG.gateways;
const PUBLIC = GATEWAY!.addresses[0]!.address;
const NAME = `${GATEWAY!.namespace}/${GATEWAY!.name}`;

/** A node with these sessions, in parts, as the store knows it. */
async function observed(
  t: TestContext,
  name: string,
  parts: readonly (readonly Session[])[],
  change: Partial<ObserverOptions> = {},
): Promise<GatewayNode> {
  const observer = await startObserver({
    host: "127.0.0.1",
    port: 0,
    token: undefined,
    node: name,
    config: () => CONFIG,
    sessions: () => parts,
    metrics: async () => ({ contentType: "text/plain", text: "natto_sessions 3\n" }),
    ...change,
  });
  t.after(() => observer.close());
  return aNode(name, `http://127.0.0.1:${observer.port}`);
}

function aNode(name: string, url?: string): GatewayNode {
  const node = validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "GatewayNode",
    metadata: { name },
    spec: { cell: "c1", address: "192.0.2.1", interfaces: { inside: "in0", outside: "out0" } },
    status: url === undefined ? {} : { observer: { url } },
  });
  assert(node.kind === "GatewayNode");
  return node;
}

const ports = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => heldSession({ public: { address: PUBLIC, port: from + i } }));

test("the sessions of all nodes are gathered, with the gateway and slot of each", async (t) => {
  const nodes = [
    await observed(t, "node-a", [ports(1024, 2), ports(3000, 1)]),
    await observed(t, "node-b", [ports(9000, 1)]),
  ];
  const { reports, failures } = await gatherSessions(
    nodes,
    { gateway: NAME },
    { limit: 10, token: undefined },
  );
  assert.deepEqual(failures, []);
  assert.deepEqual(
    reports.map(({ node, matching }) => [node, matching]),
    [
      ["node-a", 3],
      ["node-b", 1],
    ],
  );
  assert.ok(
    reports.every(({ sessions }) => sessions.every(({ gateway, slot }) => gateway === NAME && slot >= 0)),
  );
});

test("of more sessions than were asked for the first are told, and how many there are", async (t) => {
  const nodes = [await observed(t, "node-a", [ports(1024, 5), ports(2000, 5)])];
  const { reports } = await gatherSessions(nodes, {}, { limit: 7, token: undefined });
  assert.deepEqual([reports[0]?.sessions.length, reports[0]?.matching], [7, 10]);
});

test("nodes that do not answer are named with the reason, and the others' sessions are there", async (t) => {
  const gone = await startObserver({
    ...{ host: "127.0.0.1", port: 0, token: undefined, node: "gone", config: () => CONFIG },
    sessions: () => [],
    metrics: async () => ({ contentType: "", text: "" }),
  });
  await gone.close();
  const nodes = [
    await observed(t, "node-a", [ports(1024, 1)]),
    aNode("node-b", `http://127.0.0.1:${gone.port}`),
    aNode("node-c"),
  ];
  const { reports, failures } = await gatherSessions(nodes, {}, { limit: 7, token: undefined });
  assert.deepEqual(
    reports.map(({ node }) => node),
    ["node-a"],
  );
  assert.deepEqual(
    failures.map(({ node, error }) => [node, error.code]),
    [
      ["node-b", "Unavailable"],
      ["node-c", "Unavailable"],
    ],
  );
  assert.match(failures[1]!.error.message, /--observe-listen/);
});

test("a node with a token answers only who shows it", async (t) => {
  const token = "sixteen-letters-or-more";
  const nodes = [await observed(t, "node-a", [ports(1024, 1)], { token })];
  const asked = (shown: string | undefined) => gatherSessions(nodes, {}, { limit: 7, token: shown });
  for (const shown of [undefined, "sixteen-letters-or-less", ""]) {
    assert.equal((await asked(shown)).failures[0]?.error.code, "Forbidden");
  }
  assert.equal((await asked(token)).reports.length, 1);
  const response = await fetch(new URL("/metrics", nodes[0]!.status!.observer!.url));
  assert.equal(response.status, 403);
});

test("a node is only read, and says what there is to read", async (t) => {
  const { url } = (await observed(t, "node-a", [])).status!.observer!;
  assert.equal((await fetch(new URL("/sessions", url), { method: "POST" })).status, 400);
  assert.equal((await fetch(new URL("/config", url))).status, 404);
  assert.equal((await fetch(new URL("/sessions?endpoint=nobody", url))).status, 400);
  assert.equal(await (await fetch(new URL("/metrics", url))).text(), "natto_sessions 3\n");
});
