/** What tests of the CLI share: the real program as a child process, and a real server for it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { validateObject } from "../model/validate.ts";
import { until } from "../store/fixtures.ts";
import type { Store } from "../store/store.ts";
import { startTaskLoop } from "../task-loop.ts";

export const NATTO = fileURLToPath(new URL("../../bin/natto", import.meta.url));
export const EXAMPLE = fileURLToPath(new URL("../../examples/nat", import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** URL for `NATTO_SERVER`; without it the variable is not set. */
  readonly server?: string;
  readonly stdin?: string;
}

/** Runs `natto` to its end. */
export async function natto(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = spawnNatto(args, options.server);
  child.stdin?.end(options.stdin ?? "");
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, "close") as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

/** Starts `natto` as a child that is killed at the end of the test, should it still live. */
export function startNatto(t: TestContext, args: readonly string[], server?: string): ChildProcess {
  const child = spawnNatto(args, server);
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

function spawnNatto(args: readonly string[], server: string | undefined): ChildProcess {
  const { NATTO_SERVER: _, ...inherited } = process.env;
  const env = { ...inherited, NATTO_NODE: process.execPath };
  return spawn(NATTO, args, { env: server === undefined ? env : { ...env, NATTO_SERVER: server } });
}

/** Starts a real server on a free port; returns the child and where it listens. */
export async function startServer(
  t: TestContext,
  ...args: readonly string[]
): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const child = startNatto(t, ["server", "--store", "memory:", "--listen", "127.0.0.1:0", ...args]);
  const ready = await lineWith(child.stderr!, '"msg":"ready"');
  const { url } = JSON.parse(ready) as { url: string };
  return { child, url };
}

/** Reads lines until one contains the words. Fails when the stream ends before, or after thirty seconds. */
export async function lineWith(stream: NodeJS.ReadableStream, words: string): Promise<string> {
  const seen: string[] = [];
  const lines = createInterface({ input: stream, signal: AbortSignal.timeout(30_000) });
  for await (const line of lines) {
    if (line.includes(words)) {
      // Whatever comes later is read as well, so that the child is never held up by a full pipe.
      stream.resume();
      return line;
    }
    seen.push(line);
  }
  return assert.fail(`"${words}" never came; this did:\n${seen.join("\n")}`);
}

/** Waits for the end of a child; fails after thirty seconds. */
export async function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const [code] = (await once(child, "exit", { signal: AbortSignal.timeout(30_000) })) as [number | null];
  return code;
}

const API = "natto.dev/v1alpha1";

/** Writes what the agent of a node of the example would write until the test is over, and waits until the example's gateway is ready on it. */
export async function readyNode(t: TestContext, store: Store, name: string): Promise<void> {
  const spec = { cell: "main", address: "192.0.2.1", interfaces: { inside: "in0", outside: "out0" } };
  const registered = await store.create(
    validateObject({ apiVersion: API, kind: "GatewayNode", metadata: { name }, spec }),
  );
  const condition = { type: "Ready", status: "True", reason: "Programmed" };
  await store.updateStatus(validateObject({ ...registered, status: { conditions: [condition] } }));
  let renewals = 0;
  const lease = () => {
    renewals++;
    const beat = { cell: "main", renewals, renewedAt: "2026-11-24T00:00:00Z" };
    return validateObject({ apiVersion: API, kind: "Lease", metadata: { name }, spec: beat });
  };
  await store.create(lease());
  const heart = startTaskLoop(async () => {
    await store.update(lease());
    return 300;
  });
  t.after(() => heart.stop());
  await until(async () => {
    const gateway = await store.get({ kind: "NatGateway", namespace: "team-a", name: "web" });
    return gateway?.status?.conditions.some((c) => c.type === "Ready" && c.status === "True") ?? false;
  }, "the gateway is ready");
}
