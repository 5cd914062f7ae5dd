import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Socket,
  type Server as TcpServer,
} from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { startServer } from "../server/server.ts";
import { contractOfStores, type StoreSetup } from "./contract.ts";
import { cell, rejectsWith } from "./fixtures.ts";
import { openHttpStore } from "./http-store.ts";
import { DEFAULT_HISTORY } from "./key-value.ts";
import { openMemoryStore } from "./memory-store.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import type { Store } from "./store.ts";

async function serve(t: TestContext, store: Store, bookmarkMs = 5_000): Promise<Store> {
  const server = await startServer({
    store,
    host: "127.0.0.1",
    port: 0,
    logger: pino({ level: "silent" }),
    bookmarkMs,
  });
  t.after(async () => {
    await server.close();
    await store.close();
  });
  return openHttpStore(server.url);
}

function settings({ maxChanges = DEFAULT_HISTORY.maxChanges, bookmarkMs = 5_000 }: StoreSetup) {
  return { history: { ...DEFAULT_HISTORY, maxChanges }, bookmarkMs };
}

contractOfStores("HTTP on memory", (t, setup = {}) =>
  serve(t, openMemoryStore(settings(setup)), setup.bookmarkMs),
);

contractOfStores("HTTP on sqlite", async (t, setup = {}) => {
  const folder = await mkdtemp(join(tmpdir(), "natto-http-"));
  t.after(() => rm(folder, { recursive: true }));
  return serve(t, openSqliteStore(join(folder, "natto.db"), settings(setup)), setup.bookmarkMs);
});

async function listen(t: TestContext, server: TcpServer): Promise<string> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An address at which nobody listens. */
async function closedPort(): Promise<string> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

test("a server that is not there is Unavailable, and the error says where it was looked for", async () => {
  const url = await closedPort();
  const store = openHttpStore(url);
  const error = await rejectsWith(store.list({ kind: "Cell" }), "Unavailable");
  assert(error.message.startsWith(`cannot reach ${url}: `), error.message);
  assert.match(error.message, /ECONNREFUSED.*; check that natto server runs there/);
  assert(error.transient);
  await rejectsWith(store.create(cell("c1")), "Unavailable");
  const watch = store.watch({ kind: "Cell" }, "1", new AbortController().signal);
  await rejectsWith(watch[Symbol.asyncIterator]().next(), "Unavailable");
});

test("a server that accepts and says nothing is Unavailable after the deadline", async (t) => {
  const url = await listen(t, createTcpServer());
  const store = openHttpStore(url, { timeoutMs: 50, silenceMs: 50 });
  assert.match((await rejectsWith(store.list({ kind: "Cell" }), "Unavailable")).message, /within 50 ms/);
  const watch = store.watch({ kind: "Cell" }, "1", new AbortController().signal);
  const error = await rejectsWith(watch[Symbol.asyncIterator]().next(), "Unavailable");
  assert.match(error.message, /silent for 50 ms/);
});

test("a watch whose server falls silent ends with Unavailable", async (t) => {
  const bookmark = { type: "BOOKMARK", object: { metadata: { resourceVersion: "7" } } };
  const server = createServer((_request, response) => void response.write(`${JSON.stringify(bookmark)}\n`));
  const url = await listen(t, server);
  const events = openHttpStore(url, { silenceMs: 50 })
    .watch({ kind: "Cell" }, "1", t.signal)
    [Symbol.asyncIterator]();
  assert.deepEqual((await events.next()).value, { type: "BOOKMARK", resourceVersion: "7" });
  await rejectsWith(events.next(), "Unavailable");
});

test("something else than a natto server is told apart from an object that does not exist", async (t) => {
  let status = 404;
  const server = createServer((_request, response) => void response.writeHead(status).end("<html>"));
  const store = openHttpStore(await listen(t, server));
  const error = await rejectsWith(store.get({ kind: "Cell", name: "c1" }), "BadRequest");
  assert.match(error.message, /answered 404 .*check the address/);
  status = 200;
  await rejectsWith(store.list({ kind: "Cell" }), "BadRequest");
  status = 502;
  await rejectsWith(store.list({ kind: "Cell" }), "Unavailable");
});

test("an address that is no address is refused at once", () => {
  for (const url of ["http://", "http:///", "https://a b", "http://h/?q=1", "ftp://h"]) {
    assert.throws(() => openHttpStore(url), { code: "BadRequest" }, url);
  }
});
