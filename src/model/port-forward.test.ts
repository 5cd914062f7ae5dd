import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf } from "./fixtures.ts";

const FORWARD = {
  apiVersion: "natto.dev/v1alpha1",
  kind: "PortForward",
  metadata: { name: "web", namespace: "team-a" },
  spec: {
    cell: "main",
    protocol: "tcp",
    public: { gateway: "web" },
    port: 8000,
    inside: { address: "10.0.0.5", port: 80 },
  },
};

const FAULTY: readonly (readonly [string, object, RegExp])[] = [
  [
    "a range that ends before it begins",
    { lastPort: 7999 },
    /^spec\.lastPort: .*lies below port 8000; give a port/,
  ],
  [
    "a range of too many ports",
    { lastPort: 9024 },
    /^spec\.lastPort: .*makes 1025 ports.*; at most 1024 are allowed/,
  ],
  [
    "a range that ends beyond the last port inside",
    { lastPort: 8001, inside: { address: "10.0.0.5", port: 65_535 } },
    /^spec\.inside\.port: .*leaves no room for 2 ports/,
  ],
  [
    "neither gateway nor pool",
    { public: {} },
    /^spec\.public: .*not exactly one of gateway and pool; give one/,
  ],
  [
    "both gateway and pool",
    { public: { gateway: "web", pool: "p", address: "203.0.113.1" } },
    /not exactly one of gateway and pool/,
  ],
  [
    "a pool without an address",
    { public: { pool: "p" } },
    /names a pool but no address; give the address too/,
  ],
  ["a protocol that has no ports", { protocol: "icmp" }, /^spec\.protocol: found "icmp"; use "tcp", "udp"$/],
];

for (const [name, change, fault] of FAULTY) {
  test(`a forward with ${name} is refused, with what to do`, () => {
    const faults = faultsOf({ ...FORWARD, spec: { ...FORWARD.spec, ...change } });
    assert.equal(faults.length, 1, faults.join());
    assert.match(faults[0]!, fault);
  });
}

test("a forward of one port and one of a range are valid", () => {
  assert.deepEqual(faultsOf(FORWARD), []);
  assert.deepEqual(faultsOf({ ...FORWARD, spec: { ...FORWARD.spec, lastPort: 9023 } }), []);
});
