/** What tests of stores share: objects to write, and ways to wait and to expect. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { type ErrorCode, NattoError } from "../errors.ts";
import type { ObjectOf } from "../model/kinds.ts";
import { validateObject } from "../model/validate.ts";
import type { KeyValueStore, Write } from "./key-value.ts";

export function cell(name: string, port = 4789, labels: Record<string, string> = {}): ObjectOf<"Cell"> {
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "Cell",
    metadata: { name, labels },
    spec: { vxlan: { port } },
  }) as ObjectOf<"Cell">;
}

/** Each in a cell of its own, so that no two contradict each other. */
export function gateway(namespace: string, name: string, source = "10.0.0.0/24"): ObjectOf<"NatGateway"> {
  return validateObject({
    apiVersion: "natto.dev/v1alpha1",
    kind: "NatGateway",
    metadata: { namespace, name },
    spec: { cell: `${namespace}-${name}`, sources: [source], addresses: { pool: "p1" } },
  }) as ObjectOf<"NatGateway">;
}

/** Commits a single write; undefined when it is refused. */
export async function writeOne(driver: KeyValueStore, write: Write): Promise<number | undefined> {
  return (await driver.commit([write]))?.[0];
}

/** Rejects unless the promise rejects with a NattoError of this code. */
export async function rejectsWith(promise: Promise<unknown>, code: ErrorCode): Promise<NattoError> {
  const error = await promise.then(
    (value) => assert.fail(`expected ${code}, but it resolved to ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof NattoError, `expected a NattoError, got ${error}`);
  assert.equal(error.code, code, error.message);
  return error;
}

/** Waits until the condition holds; fails after the deadline. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = 10_000,
): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > end) assert.fail(`waited ${deadlineMs} ms in vain until ${what}`);
    await delay(5);
  }
}
