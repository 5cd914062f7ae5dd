/** What tests of the kinds share. */
import assert from "node:assert/strict";
import { NattoError } from "../errors.ts";
import { DEFAULT_BEHAVIOUR } from "./nat-behaviour.ts";
import { type NodeConfig, nodeConfigSchema } from "./node-config.ts";
import { checkSchema, validateObject } from "./validate.ts";

/** The faults of an object, as `field: message; remedy`; none when it is valid. */
export function faultsOf(object: unknown): string[] {
  try {
    validateObject(object);
  } catch (error) {
    assert.ok(error instanceof NattoError);
    assert.equal(error.code, "Invalid");
    return error.details.map((d) => `${d.field}: ${d.message}; ${d.remedy}`);
  }
  return [];
}

export const SLOT_SIZE = 9216;
const SLOTS = 7;

/** A NodeConfig of node `a` in cell `c1` with one peer, `b`, and so many gateways, whose slots they share. */
export function nodeConfig(gateways: number, change: Partial<NodeConfig["spec"]> = {}): NodeConfig {
  const slots = (index: (slot: number) => number): number[] =>
    Array.from({ length: SLOTS }, (_, s) => index(s));
  return checkSchema(nodeConfigSchema, {
    apiVersion: "natto.dev/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: "a" },
    spec: {
      cell: "c1",
      node: { address: "127.84.0.1", interfaces: { inside: "in0", outside: "out0" } },
      vxlan: { port: 4789 },
      peers: [{ name: "b", address: "127.84.0.2" }],
      gateways: Array.from({ length: gateways }, (_, i) => ({
        namespace: "team",
        name: `gw-${i}`,
        uid: `uid-${i}`,
        sources: [`10.0.${i}.0/24`],
        portsPerSlot: SLOT_SIZE,
        behaviour: DEFAULT_BEHAVIOUR,
        nodes: ["a", "b"],
        addresses: [
          { address: `198.51.100.${i}`, owners: slots((s) => s % 2), backups: slots((s) => 1 - (s % 2)) },
        ],
      })),
      ...change,
    },
  });
}
