import assert from "node:assert/strict";
import { test } from "node:test";
import type { NattoError } from "../errors.ts";
import { faultsOf } from "./fixtures.ts";
import { findKind, KINDS, kindInfo } from "./kinds.ts";
import { mergeConditions } from "./meta.ts";
import { MAX_NESTING, validateObject } from "./validate.ts";

const API = { apiVersion: "natto.dev/v1alpha1" };
const GATEWAY = {
  ...API,
  kind: "NatGateway",
  metadata: { name: "web", namespace: "team-a" },
  spec: { cell: "main", sources: ["10.0.0.0/24"], addresses: { pool: "public" } },
};

const withSpec = (spec: object) => ({ ...GATEWAY, spec: { ...GATEWAY.spec, ...spec } });

test("a gateway gets the defaults that the RFCs and the documentation name", () => {
  const gateway = validateObject(GATEWAY);
  assert.equal(gateway.kind, "NatGateway");
  assert.deepEqual(gateway.kind === "NatGateway" && gateway.spec, {
    cell: "main",
    sources: ["10.0.0.0/24"],
    addresses: { pool: "public", count: 1 },
    shard: { size: 8 },
    ports: { perSlot: 1024, holdDownSeconds: 120 },
    allocation: { method: "Hashed", spread: "Endpoint" },
    log: "None",
    mapping: { udp: "EndpointIndependent", tcp: "AddressAndPortDependent" },
    filtering: {},
    timeouts: { tcpEstablished: 7440, tcpHalfOpen: 240, tcpTransitory: 240, udp: 300, icmp: 60 },
    inboundRefresh: { udp: false },
    limits: {
      portsPerEndpoint: 0,
      sessionsPerEndpoint: 16_384,
      newSessionsPerSecond: 1000,
      newSessionsBurst: 4000,
    },
    failFast: { tcpReset: true, icmpProhibited: false },
  });
});

test("an object without a namespace is put into the default one where its kind has namespaces", () => {
  const { metadata, ...rest } = GATEWAY;
  assert.equal(validateObject({ ...rest, metadata: { name: metadata.name } }).metadata.namespace, "default");
  const cell = { ...API, kind: "Cell", metadata: { name: "main", namespace: "x" }, spec: {} };
  assert.deepEqual(faultsOf(cell), [
    'metadata.namespace: found "x", but a Cell belongs to no namespace; remove the field',
  ]);
});

test("each wrong field is named, with what was found, what is allowed and what to do", () => {
  assert.deepEqual(faultsOf(withSpec({ sources: ["10.0.0.0/24", "10.0.1.5/24", "10.0.0.0/99"] })), [
    'spec.sources[1]: "10.0.1.5/24" has host bits set; did you mean 10.0.1.0/24?',
    'spec.sources[2]: "10.0.0.0/99" is not a CIDR block; write it like 192.0.2.0/24',
  ]);
  assert.deepEqual(faultsOf(withSpec({ timeout: 5 })), [
    "spec.timeout: unknown field; remove it or correct its spelling",
  ]);
  assert.deepEqual(faultsOf(withSpec({ ports: { perSlot: 70000 } })), [
    "spec.ports.perSlot: 70000 does not cut 64512 ports into equal slots of at least 64; choose a divisor such as 256, 512, 1024, 3072 or 9216",
  ]);
  assert.deepEqual(faultsOf(withSpec({ ports: { perSlot: 1000 } })), [
    "spec.ports.perSlot: 1000 does not cut 64512 ports into equal slots of at least 64; choose a divisor such as 256, 512, 1024, 3072 or 9216",
  ]);
  assert.deepEqual(
    faultsOf({ ...API, kind: "Cell", metadata: { name: "c" }, spec: { vxlan: { port: 65536 } } }),
    ["spec.vxlan.port: 65536 must be a whole number from 1 to 65535; choose one in that range"],
  );
  assert.deepEqual(faultsOf(withSpec({ cell: undefined })), ["spec.cell: is required; give a string"]);
  assert.deepEqual(faultsOf({ ...GATEWAY, apiVersion: "v1" }), [
    'apiVersion: found "v1"; use natto.dev/v1alpha1',
  ]);
});

test("a gateway's filter that is looser than its mapping is refused, and so is an MSS of no use", () => {
  assert.deepEqual(faultsOf(withSpec({ filtering: { udp: "EndpointIndependent" } })), []);
  assert.deepEqual(faultsOf(withSpec({ filtering: { tcp: "AddressDependent" } })), [
    'spec.filtering.tcp: "AddressDependent" is looser than the mapping (AddressAndPortDependent): an endpoint would answer what the filter lets in from another public port; use AddressAndPortDependent, or loosen mapping.tcp',
  ]);
  for (const mssClamp of [536, 1380, "PathMtu"]) assert.deepEqual(faultsOf(withSpec({ mssClamp })), []);
  assert.deepEqual(faultsOf(withSpec({ mssClamp: 100 })), [
    "spec.mssClamp: 100 must be a whole number of bytes from 536 to 65495, or PathMtu; choose one of the two",
  ]);
});

test("several faults are told at once", () => {
  assert.equal(faultsOf(withSpec({ cell: 5, sources: [], unknown: true })).length, 3);
});

test("what is no object, or of no kind, is refused with what would be one", () => {
  for (const input of [undefined, null, 5, "x", []])
    assert.throws(() => validateObject(input), /expected an object with apiVersion/);
  assert.deepEqual(faultsOf({ ...GATEWAY, kind: "natgateway" }), [
    'kind: found "natgateway"; write NatGateway',
  ]);
  assert.match(faultsOf({ ...GATEWAY, kind: "Pod" })[0]!, /use one of Cell, GatewayNode/);
});

test("an object that is too large says how large it is and may be", () => {
  const big = { ...GATEWAY, metadata: { ...GATEWAY.metadata, annotations: { note: "x".repeat(300_000) } } };
  assert.throws(
    () => validateObject(big),
    (error: NattoError) =>
      error.code === "TooLarge" &&
      /NatGateway team-a\/web has 30\d{4} bytes; at most 262144/.test(error.message),
  );
});

test("a kind is found by all of its names, and no two kinds share one", () => {
  for (const word of ["NatGateway", "natgateway", "natgateways", "gw", "GATEWAYS"])
    assert.equal(findKind(word), "NatGateway");
  assert.equal(findKind("pod"), undefined);
  const words = KINDS.flatMap((kind) => [kind.toLowerCase(), kindInfo(kind).plural, ...kindInfo(kind).short]);
  assert.equal(new Set(words).size, words.length);
});

test("a condition keeps its time until its status changes, and others stay", () => {
  const ready = { type: "Ready", status: "True", reason: "A", message: "", observedGeneration: 1 } as const;
  const first = mergeConditions([], [ready], "t1");
  const second = mergeConditions(first, [{ ...ready, reason: "B" }], "t2");
  assert.deepEqual(second, [{ ...ready, reason: "B", lastTransitionTime: "t1" }]);
  const third = mergeConditions(
    second,
    [
      { ...ready, status: "False" },
      { ...ready, type: "Accepted" },
    ],
    "t3",
  );
  assert.deepEqual(
    third.map((c) => [c.type, c.lastTransitionTime]),
    [
      ["Accepted", "t3"],
      ["Ready", "t3"],
    ],
  );
});

test("what is nested too deep is refused by name instead of exhausting the stack", () => {
  const nested = (levels: number): unknown => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`);
  const poolOf = (spec: unknown) => ({ ...API, kind: "AddressPool", metadata: { name: "p" }, spec });
  for (const levels of [MAX_NESTING + 1, 100_000]) {
    assert.throws(() => validateObject(poolOf(nested(levels))), {
      code: "Invalid",
      message: /^AddressPool p has fields nested deeper than 32 levels; remove /,
    });
  }
  assert.throws(() => validateObject(poolOf(nested(MAX_NESTING))), { message: /spec: found \[\[/ });
});
