import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { pino } from "pino";
import { openMemoryStore } from "../store/memory-store.ts";
import { declare, gatewaySpec, POOL, serveMemory, statusIn } from "./fixtures.ts";
import { startServer } from "./server.ts";

const GATEWAY = declare("NatGateway", "g1", gatewaySpec(["10.0.0.0/24"]));
const GATEWAYS = "namespaces/default/natgateways";

test("an object is created, read, listed, replaced, patched and deleted", async (t) => {
  const { call } = await serveMemory(t);
  const created = await call("POST", GATEWAYS, GATEWAY);
  assert.equal(created.code, 201);
  assert.deepEqual((await call("GET", `${GATEWAYS}/g1`)).body, created.body);

  const list = await call("GET", "natgateways");
  assert.equal(list.body.kind, "NatGatewayList");
  assert.deepEqual(list.body.items, [created.body]);
  assert.deepEqual((await call("GET", `${GATEWAYS}?fieldSelector=metadata.name%3Dg2`)).body.items, []);

  const replaced = await call("PUT", `${GATEWAYS}/g1`, { ...GATEWAY, spec: gatewaySpec(["10.0.1.0/24"]) });
  assert.equal(replaced.code, 200);
  const patch = { metadata: { labels: { a: "b" } }, spec: { shard: { size: 4 } } };
  const patched = await call("PATCH", `${GATEWAYS}/g1`, patch, "application/merge-patch+json");
  assert.deepEqual((patched.body.spec as { shard: unknown; sources: unknown }).shard, { size: 4 });
  assert.deepEqual((patched.body.spec as { sources: unknown }).sources, ["10.0.1.0/24"]);
  assert.equal((patched.body.metadata as { generation: number }).generation, 3);

  const deleted = await call("DELETE", `${GATEWAYS}/g1`);
  assert.deepEqual(deleted.body, patched.body);
  assert.equal(statusIn(await call("GET", `${GATEWAYS}/g1`)).reason, "NotFound");
});

test("a patch of the status leaves the spec, and a patch of the object leaves the status", async (t) => {
  const { call } = await serveMemory(t);
  await call("POST", "cells", declare("Cell", "c1", {}));
  const merge = "application/merge-patch+json";
  const reported = await call(
    "PATCH",
    "cells/c1/status",
    { spec: { vxlan: { port: 1 } }, status: { readyNodes: 3 } },
    merge,
  );
  assert.equal(reported.code, 200, JSON.stringify(reported.body));
  assert.deepEqual((reported.body.spec as { vxlan: unknown }).vxlan, { port: 4789 });
  const patched = await call(
    "PATCH",
    "cells/c1",
    { spec: { vxlan: { port: 1 } }, status: { readyNodes: 9 } },
    merge,
  );
  assert.deepEqual((patched.body.spec as { vxlan: unknown }).vxlan, { port: 1 });
  assert.equal((patched.body.status as { readyNodes: number }).readyNodes, 3);
});

test("patches made at the same time all take effect; one with an old resourceVersion conflicts", async (t) => {
  const { call } = await serveMemory(t);
  const created = await call("POST", "cells", declare("Cell", "c1", {}));
  const merge = "application/merge-patch+json";
  const names = Array.from({ length: 10 }, (_, i) => `l${i}`);
  const patches = names.map((name) =>
    call("PATCH", "cells/c1", { metadata: { labels: { [name]: "x" } } }, merge),
  );
  for (const answer of await Promise.all(patches)) assert.equal(answer.code, 200);
  const { labels } = (await call("GET", "cells/c1")).body.metadata as { labels: object };
  assert.deepEqual(Object.keys(labels).sort(), names);
  const { resourceVersion } = created.body.metadata as { resourceVersion: string };
  const late = await call(
    "PATCH",
    "cells/c1",
    { metadata: { resourceVersion, labels: { late: "x" } } },
    merge,
  );
  assert.equal(statusIn(late).reason, "Conflict");
});

test("a dry run answers as the write would, and writes nothing", async (t) => {
  const { call, store } = await serveMemory(t);
  const dry = await call("POST", "addresspools?dryRun=All", declare("AddressPool", "p1", POOL));
  assert.equal(dry.code, 201);
  assert.equal((dry.body.metadata as { generation: number }).generation, 1);
  assert.equal(await store.get({ kind: "AddressPool", name: "p1" }), undefined);

  await call("POST", "addresspools", declare("AddressPool", "p1", POOL));
  const overlapping = declare("AddressPool", "p2", POOL);
  assert.equal(statusIn(await call("POST", "addresspools?dryRun=All", overlapping)).reason, "Rejected");
  const again = await call("POST", "addresspools?dryRun=All", declare("AddressPool", "p1", POOL));
  assert.equal(statusIn(again).reason, "AlreadyExists");
  const other = declare("AddressPool", "p1", { cidrs: ["198.51.100.0/24"] });
  const replaced = await call("PUT", "addresspools/p1?dryRun=All", other);
  assert.equal((replaced.body.metadata as { generation: number }).generation, 2);
  assert.deepEqual((await store.get({ kind: "AddressPool", name: "p1" }))?.spec, POOL);
});

/** What is wrong with a request, and what the error must say. */
const BAD_REQUESTS: readonly {
  readonly title: string;
  readonly request: readonly [method: string, path: string, body?: unknown, contentType?: string];
  readonly reason: string;
  readonly says: RegExp;
}[] = [
  { title: "garbage", request: ["POST", "cells", "{nonsense"], reason: "BadRequest", says: /not JSON/ },
  { title: "an empty body", request: ["POST", "cells", ""], reason: "BadRequest", says: /empty/ },
  { title: "a list", request: ["POST", "cells", "[1]"], reason: "BadRequest", says: /not an object/ },
  { title: "null", request: ["PUT", "cells/c1", "null"], reason: "BadRequest", says: /not an object/ },
  {
    title: "a poisoned key",
    request: ["POST", "cells", '{"__proto__":{"a":1}}'],
    reason: "BadRequest",
    says: /not JSON/,
  },
  {
    title: "no content type",
    request: ["POST", "cells"],
    reason: "BadRequest",
    says: /content-type: found none/,
  },
  {
    title: "another content type",
    request: ["POST", "cells", "a: b", "text/yaml"],
    reason: "BadRequest",
    says: /text\/yaml; send application\/json/,
  },
  {
    title: "a patch as a whole object",
    request: ["PATCH", "cells/c1", "{}"],
    reason: "BadRequest",
    says: /PATCH takes application\/merge-patch\+json/,
  },
  { title: "a path elsewhere", request: ["GET", "/api/v1/pods"], reason: "BadRequest", says: /no such path/ },
  {
    title: "a short name as a path",
    request: ["GET", "pools"],
    reason: "BadRequest",
    says: /use addresspools/,
  },
  { title: "an unknown kind", request: ["GET", "pods"], reason: "BadRequest", says: /use one of cells, / },
  {
    title: "a namespace for a kind that has none",
    request: ["GET", "namespaces/a/cells"],
    reason: "BadRequest",
    says: /a Cell is under \/apis\/natto.dev\/v1alpha1\/cells/,
  },
  {
    title: "no namespace for a kind that has one",
    request: ["GET", "natgateways/g1"],
    reason: "BadRequest",
    says: /namespaces\/NAMESPACE\/natgateways/,
  },
  {
    title: "a method that is not served",
    request: ["DELETE", "cells"],
    reason: "BadRequest",
    says: /a collection takes GET and POST/,
  },
  { title: "a broken escape in the path", request: ["GET", "cells/%zz"], reason: "BadRequest", says: /%zz/ },
  {
    title: "an unknown parameter",
    request: ["GET", "cells?watsch=true"],
    reason: "BadRequest",
    says: /\?watsch: unknown query parameter; use watch/,
  },
  {
    title: "a parameter given twice",
    request: ["GET", "cells?watch=true&watch=true"],
    reason: "BadRequest",
    says: /more than once/,
  },
  {
    title: "a watch from nowhere",
    request: ["GET", "cells?watch=true"],
    reason: "BadRequest",
    says: /list first/,
  },
  {
    title: "a watch from no revision",
    request: ["GET", "cells?watch=true&resourceVersion=x"],
    reason: "BadRequest",
    says: /not a revision/,
  },
  {
    title: "a watch from long ago",
    request: ["GET", "cells?watch=true&resourceVersion=1"],
    reason: "Expired",
    says: /list again/,
  },
  {
    title: "another selector",
    request: ["GET", "cells?fieldSelector=spec.x%3D1"],
    reason: "BadRequest",
    says: /only metadata.name=NAME/,
  },
  {
    title: "half a dry run",
    request: ["POST", "cells?dryRun=yes", declare("Cell", "c1", {})],
    reason: "BadRequest",
    says: /use dryRun=All/,
  },
  {
    title: "another kind than the path's",
    request: ["POST", "cells", GATEWAY],
    reason: "BadRequest",
    says: /kind: found "NatGateway", but the path says "Cell"/,
  },
  {
    title: "another name than the path's",
    request: ["PUT", "cells/c2", declare("Cell", "c1", {})],
    reason: "BadRequest",
    says: /metadata.name: found "c1"/,
  },
  {
    title: "another namespace than the path's",
    request: ["POST", GATEWAYS, declare("NatGateway", "g1", {}, "other")],
    reason: "BadRequest",
    says: /metadata.namespace: found "other"/,
  },
  {
    title: "an unknown field",
    request: ["POST", "cells", declare("Cell", "c1", { vlxan: {} })],
    reason: "Invalid",
    says: /Cell c1 is invalid: spec.vlxan: unknown field/,
  },
  {
    title: "host bits",
    request: ["POST", "addresspools", declare("AddressPool", "p1", { cidrs: ["203.0.113.1/24"] })],
    reason: "Invalid",
    says: /AddressPool p1 .*spec.cidrs\[0\].*did you mean 203.0.113.0\/24/,
  },
  {
    title: "a replacement of nothing",
    request: ["PUT", "cells/c1", declare("Cell", "c1", {})],
    reason: "NotFound",
    says: /Cell c1 does not exist/,
  },
  {
    title: "a patch of nothing",
    request: ["PATCH", "cells/c1", "{}", "application/merge-patch+json"],
    reason: "NotFound",
    says: /Cell c1 does not exist/,
  },
  {
    title: "a deletion of nothing",
    request: ["DELETE", `${GATEWAYS}/g9`],
    reason: "NotFound",
    says: /NatGateway default\/g9/,
  },
];

test("every bad request is answered with what is wrong and what to do, and the server goes on", async (t) => {
  const { call } = await serveMemory(t);
  for (const { title, request, reason, says } of BAD_REQUESTS) {
    await t.test(`such as ${title}`, async () => {
      const status = statusIn(await call(...request));
      assert.equal(status.reason, reason, status.message);
      assert.match(status.message, says);
    });
  }
  assert.equal((await call("GET", "cells")).code, 200);
});

test("an object that is too large is named with its size, the limit and a remedy", async (t) => {
  const { call } = await serveMemory(t);
  const big = declare("Cell", "c1", {});
  const metadata = { name: "c1", annotations: { bulk: "x".repeat(1024 * 1024) } };
  const named = statusIn(await call("POST", "cells", { ...big, metadata }));
  assert.equal(named.code, 413);
  assert.match(named.message, /^Cell c1 has 10\d{5} bytes; at most 262144 are allowed; split it/);
  const huge = statusIn(await call("PUT", "cells/c1", "x".repeat(5 * 1024 * 1024)));
  assert.match(
    huge.message,
    /^Cell c1: the body has 5242880 bytes; at most 262144 are allowed for a Cell; split it/,
  );
});

test("what is not HTTP at all is answered, and the server goes on", async (t) => {
  const { call, server } = await serveMemory(t);
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  socket.end("\u0000\u0001 this is not HTTP\r\n\r\n");
  const [first] = (await once(socket, "data")) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1.1 400 /);
  assert.equal((await call("GET", "cells")).code, 200);
});

test("a watch is a stream of lines that ends when the server closes", async (t) => {
  const { call, server } = await serveMemory(t);
  const list = await call("GET", "cells");
  const { resourceVersion } = list.body.metadata as { resourceVersion: string };
  const created = await call("POST", "cells", declare("Cell", "c1", {}));
  const response = await fetch(
    `${server.url}/apis/natto.dev/v1alpha1/cells?watch=true&resourceVersion=${resourceVersion}`,
  );
  const reader = response.body!.getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  const line = first.split("\n")[0] ?? "";
  assert.deepEqual(JSON.parse(line), { type: "ADDED", object: created.body });
  const { port } = new URL(server.url);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /natto_api_open_watches\{kind="Cell"\} 1/);
  await server.close();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    assert.match(new TextDecoder().decode(chunk.value), /BOOKMARK/);
  }
  await assert.rejects(fetch(`http://127.0.0.1:${port}/healthz`));
});

test("health, readiness, version and metrics are served", async (t) => {
  const { call, server, store } = await serveMemory(t);
  assert.deepEqual((await call("GET", "/healthz")).body, { status: "ok" });
  assert.deepEqual((await call("GET", "/readyz")).body, { status: "ok", store: "memory:" });
  assert.equal((await call("GET", "/version")).body.apiVersion, "natto.dev/v1alpha1");
  await call("GET", "cells");
  await call("GET", "cells/nowhere");
  const text = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(text, /natto_api_requests_total\{method="GET",kind="Cell",code="200"\} 1/);
  assert.match(text, /natto_api_requests_total\{method="GET",kind="Cell",code="404"\} 1/);
  assert.match(text, /natto_api_request_duration_seconds_count\{method="GET",kind="Cell"\} 2/);
  await store.close();
  assert.equal(statusIn(await call("GET", "/readyz")).reason, "Unavailable");
  assert.equal((await call("GET", "/healthz")).code, 200);
});

test("a port that is taken is an error that names it", async (t) => {
  const { server } = await serveMemory(t);
  const port = Number(new URL(server.url).port);
  const second = startServer({
    store: openMemoryStore(),
    host: "127.0.0.1",
    port,
    logger: pino({ level: "silent" }),
  });
  await assert.rejects(second, {
    code: "Environment",
    message: new RegExp(`cannot listen on 127.0.0.1:${port}`),
  });
});
