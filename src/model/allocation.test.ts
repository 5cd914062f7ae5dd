import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type Deterministic,
  endpointOfPort,
  MIN_PORTS_PER_ENDPOINT,
  outboundPorts,
  type Pool,
} from "./allocation.ts";
import { faultsOf } from "./fixtures.ts";
import { address, cidr, cidrSize } from "./ipv4.ts";
import { endpointAt, FABRIC_NETWORK, outboundSlot, PORTS_PER_ADDRESS, slotPorts } from "./slots.ts";

const PUBLICS = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map(address);
const SOURCES = ["10.0.0.0/22", "192.168.7.0/28", "10.9.0.0/25"].map(cidr);
const ENDPOINTS = SOURCES.reduce((sum, source) => sum + cidrSize(source), 0);

function divisors(of: number, from: number): number[] {
  return Array.from({ length: of + 1 }, (_, n) => n).filter((n) => n >= from && of % n === 0);
}

const cuts = fc.constantFrom(...divisors(PORTS_PER_ADDRESS, 64)).chain((portsPerSlot) =>
  fc.constantFrom(...divisors(portsPerSlot, MIN_PORTS_PER_ENDPOINT)).map((portsPerEndpoint) => ({
    portsPerSlot,
    allocation: { method: "Deterministic", portsPerEndpoint } as const,
  })),
);

function deterministic(cut: { portsPerSlot: number; allocation: Deterministic }) {
  return { addresses: PUBLICS, sources: SOURCES, ...cut };
}

test("an endpoint's block lies in its slot, and every port of it names the endpoint", () => {
  fc.assert(
    fc.property(cuts, fc.nat(ENDPOINTS - 1), fc.nat(), (cut, index, offset) => {
      const pool = deterministic(cut);
      const endpoint = endpointAt(SOURCES, index)!;
      const block = outboundPorts(pool, FABRIC_NETWORK, { address: endpoint, port: offset % 65536 });
      const { portsPerEndpoint } = cut.allocation;
      if (!block) return assert.ok(index * portsPerEndpoint >= PUBLICS.length * PORTS_PER_ADDRESS);
      const slot = slotPorts(block.slot, cut.portsPerSlot);
      assert.ok(slot.first <= block.ports.first && block.ports.last <= slot.last);
      assert.equal(block.ports.last - block.ports.first + 1, portsPerEndpoint);
      const port = block.ports.first + (offset % portsPerEndpoint);
      assert.equal(endpointOfPort(pool, cut.allocation, block.addressIndex, port), endpoint);
    }),
  );
});

test("no two endpoints share a port, and the blocks of an address are as many as fit", () => {
  const allocation = { method: "Deterministic", portsPerEndpoint: 256 } as const;
  const pool = deterministic({ portsPerSlot: 1024, allocation });
  const blocks = Array.from({ length: ENDPOINTS }, (_, index) => {
    return outboundPorts(pool, FABRIC_NETWORK, { address: endpointAt(SOURCES, index)!, port: 0 });
  }).flatMap((block) => block ?? []);
  assert.equal(blocks.length, (PUBLICS.length * PORTS_PER_ADDRESS) / 256);
  assert.equal(
    new Set(blocks.map(({ addressIndex, ports }) => `${addressIndex} ${ports.first}`)).size,
    blocks.length,
  );
});

test("another address or another block of sources behind the others moves no endpoint", () => {
  fc.assert(
    fc.property(cuts, fc.nat(ENDPOINTS - 1), (cut, index) => {
      const endpoint = { address: endpointAt(SOURCES, index)!, port: 0 };
      const pool = deterministic(cut);
      const before = outboundPorts(pool, FABRIC_NETWORK, endpoint);
      const grown = {
        ...pool,
        addresses: [...PUBLICS, address("203.0.113.9")],
        sources: [...SOURCES, cidr("10.77.0.0/24")],
      };
      if (before) assert.deepEqual(outboundPorts(grown, FABRIC_NETWORK, endpoint), before);
    }),
  );
});

const HASHED: Omit<Pool, "allocation"> = { addresses: PUBLICS, portsPerSlot: 1024, sources: SOURCES };

test("hashed allocation gives an endpoint all ports of the slot of the slot functions", () => {
  const pool: Pool = { ...HASHED, allocation: { method: "Hashed", spread: "Endpoint" } };
  const endpoint = { address: address("10.0.1.2"), port: 4711 };
  const { addressIndex, slot } = outboundSlot(FABRIC_NETWORK, endpoint.address, PUBLICS, 1024);
  const ports = slotPorts(slot, 1024);
  assert.deepEqual(outboundPorts(pool, FABRIC_NETWORK, endpoint), { addressIndex, slot, ports });
});

test("flows that are spread keep the endpoint's address and reach every slot of it", () => {
  const pool: Pool = { ...HASHED, allocation: { method: "Hashed", spread: "Flow" } };
  const endpoint = address("10.0.1.2");
  const chosen = Array.from({ length: 4000 }, (_, i) =>
    outboundPorts(pool, FABRIC_NETWORK, { address: endpoint, port: 1024 + i }),
  );
  const paired = outboundSlot(FABRIC_NETWORK, endpoint, PUBLICS, 1024).addressIndex;
  assert.deepEqual([...new Set(chosen.map((c) => c?.addressIndex))], [paired]);
  assert.equal(new Set(chosen.map((c) => c?.slot)).size, 63);
});

function gatewayWith(spec: object): unknown {
  const common = { cell: "main", sources: ["10.0.0.0/22"], addresses: { pool: "public", count: 5 } };
  const envelope = { apiVersion: "natto.dev/v1alpha1", kind: "NatGateway", metadata: { name: "web" } };
  return { ...envelope, spec: { ...common, ...spec } };
}

test("a gateway is refused when its sources' blocks do not fit its addresses, with the number that would", () => {
  const allocation = { method: "Deterministic", portsPerEndpoint: 256 };
  assert.deepEqual(faultsOf(gatewayWith({ allocation })), []);
  const addresses = { pool: "public", count: 4 };
  const [fault] = faultsOf(gatewayWith({ allocation, addresses }));
  assert.match(fault ?? "", /^spec.allocation.portsPerEndpoint: 256 ports for each of 1024 addresses/);
  assert.match(fault ?? "", /4 public addresses have room for 1008; set addresses.count to 5/);
});

test("a block that does not divide a slot is refused, with one that does", () => {
  const allocation = { method: "Deterministic", portsPerEndpoint: 300 };
  const [fault] = faultsOf(gatewayWith({ allocation }));
  assert.match(fault ?? "", /300 does not divide a slot of 1024 ports; .* such as 256$/);
});

test("a method that does not exist, and a field of the other method, are refused", () => {
  assert.match(
    faultsOf(gatewayWith({ allocation: { method: "Random" } }))[0] ?? "",
    /Hashed or Deterministic/,
  );
  const mixed = { method: "Deterministic", portsPerEndpoint: 256, spread: "Flow" };
  assert.match(faultsOf(gatewayWith({ allocation: mixed }))[0] ?? "", /allocation.spread: unknown field/);
});
