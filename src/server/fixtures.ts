/** What tests of the server share: a server on a free port, and a client that shows answers as they are. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { pino } from "pino";
import { API_GROUP_PATH } from "../model/meta.ts";
import type { Status } from "../model/status.ts";
import { openMemoryStore } from "../store/memory-store.ts";
import type { Store } from "../store/store.ts";
import { type RunningServer, startServer } from "./server.ts";

export interface TestServer {
  readonly server: RunningServer;
  readonly store: Store;
  /** `path` is under the API's group path unless it begins with `/`. A body that is a text is sent as it is. */
  call(method: string, path: string, body?: unknown, contentType?: string): Promise<Answer>;
}

export interface Answer {
  readonly code: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export async function serveMemory(t: TestContext, store: Store = openMemoryStore()): Promise<TestServer> {
  const server = await startServer({ store, host: "127.0.0.1", port: 0, logger: pino({ level: "silent" }) });
  t.after(() => server.close());
  return {
    server,
    store,
    call: async (method, path, body, contentType = "application/json") => {
      const url = server.url + (path.startsWith("/") ? path : `${API_GROUP_PATH}/${path}`);
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const request = body === undefined ? {} : { body: text, headers: { "content-type": contentType } };
      const response = await fetch(url, { method, ...request });
      return { code: response.status, body: (await response.json()) as Answer["body"] };
    },
  };
}

/** The answer as a Status; fails when it is none, or when its code is not that of the answer. */
export function statusIn({ code, body }: Answer): Status {
  assert.equal(body.kind, "Status", JSON.stringify(body));
  assert.equal(body.status, "Failure");
  assert.equal(body.code, code);
  return body as unknown as Status;
}

/** A declaration as a person writes it. */
export function declare(kind: string, name: string, spec: object, namespace?: string) {
  return {
    apiVersion: "natto.dev/v1alpha1",
    kind,
    metadata: { name, ...(namespace && { namespace }) },
    spec,
  };
}

export const POOL = { cidrs: ["203.0.113.0/30"] };

export function gatewaySpec(sources: readonly string[], count = 1, cell = "c1", pool = "p1") {
  return { cell, sources, addresses: { pool, count } };
}

export function nodeSpec(address: string, cell = "c1") {
  return { cell, address, interfaces: { inside: "in0", outside: "out0" } };
}
