import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NattoError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import { cidr, formatAddress } from "../model/ipv4.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { Placement } from "../model/placement.ts";
import type { PortForward } from "../model/port-forward.ts";
import { slotsPerAddress } from "../model/slots.ts";
import { validateObject } from "../model/validate.ts";
import { mergedPorts, NOBODY_TEXT, slotsByOwner } from "./owned-slots.ts";
import { MAX_ENDPOINTS_TRIED, type Plans, parseQuestion, type WhoisAnswer, whois } from "./whois.ts";

const PER_SLOT = 1024;
const SLOTS = slotsPerAddress(PER_SLOT);

function object(kind: string, name: string, spec: unknown, namespace?: string): unknown {
  return validateObject({ apiVersion: "natto.dev/v1alpha1", kind, metadata: { name, namespace }, spec });
}

/** A gateway team-a/NAME whose slots are dealt to the nodes in turn; the next node is next in line. */
function placed(
  name: string,
  cell: string,
  source: string,
  addresses: readonly string[],
  nodes = ["a", "b", "c"],
  allocation: object = { method: "Hashed" },
) {
  const spec = {
    cell,
    sources: [source],
    addresses: { pool: "public", count: addresses.length },
    allocation,
  };
  const owners = Array.from({ length: SLOTS }, (_, slot) => (nodes.length > 0 ? slot % nodes.length : -1));
  const backups = owners.map((owner) => (nodes.length > 1 ? (owner + 1) % nodes.length : -1));
  const placement = {
    cell,
    pool: "public",
    portsPerSlot: PER_SLOT,
    nodes,
    addresses: addresses.map((address) => ({ address, owners, backups })),
  };
  return {
    gateway: object("NatGateway", name, spec, "team-a") as NatGateway,
    placement: object("Placement", name, placement, "team-a") as Placement,
  };
}

const POOL = object("AddressPool", "public", { cidrs: ["203.0.113.0/28"] }) as AddressPool;

function plans(...placements: readonly ReturnType<typeof placed>[]): Plans {
  return {
    gateways: placements.map(({ gateway }) => gateway),
    placements: placements.map(({ placement }) => placement),
    pools: [POOL],
    floats: [],
    forwards: [],
  };
}

/** The gateway of an answer that is about one. */
function gatewayIn(answer: WhoisAnswer): string {
  assert(answer.question !== "static");
  return answer.gateway;
}

const web = placed("web", "main", "10.0.0.0/24", ["203.0.113.1", "203.0.113.2"]);

function ask(text: string, known: Plans = plans(web)) {
  return whois(parseQuestion(text), known);
}

function refusal(text: string, known?: Plans): NattoError {
  try {
    ask(text, known);
  } catch (thrown) {
    assert(thrown instanceof NattoError);
    return thrown;
  }
  return assert.fail(`${text} was answered`);
}

test("a public address and port has one slot, an owner and a next in line", () => {
  const [answer, ...others] = ask("203.0.113.2:3100");
  assert.equal(others.length, 0);
  assert(answer?.question === "port");
  assert.deepEqual(
    { ...answer, endpoints: answer.endpoints.total },
    {
      question: "port",
      port: 3100,
      gateway: "team-a/web",
      cell: "main",
      publicAddress: "203.0.113.2",
      slot: 2,
      ports: "3072-4095",
      owner: "c",
      nextInLine: "a",
      endpoints: 256,
    },
  );
});

test("asking for an endpoint and then for its public port leads back to the endpoint", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: PER_SLOT - 1 }),
      (host, offset) => {
        const endpoint = formatAddress(cidr("10.0.0.0/24").first + host);
        const [forward] = ask(endpoint);
        assert(forward?.question === "endpoint");
        const port = Number(forward.ports.split("-")[0]) + offset;
        const [back] = ask(`${forward.publicAddress}:${port}`);
        assert(back?.question === "port");
        assert.equal(back.owner, forward.owner);
        assert.equal(back.slot, forward.slot);
        assert(back.endpoints.first.includes(endpoint));
        assert.equal(back.endpoints.count, back.endpoints.first.length);
      },
    ),
  );
});

test("the endpoints of all slots together are all addresses of the sources, each once", () => {
  const counts = ["203.0.113.1", "203.0.113.2"].flatMap((address) =>
    Array.from({ length: SLOTS }, (_, slot) => {
      const [answer] = ask(`${address}:${1024 + slot * PER_SLOT}`);
      return answer?.question === "port" ? answer.endpoints.count : Number.NaN;
    }),
  );
  assert.equal(
    counts.reduce((sum, count) => sum + count, 0),
    256,
  );
});

test("of very large sources only a bounded number of addresses is tried, and the answer says so", () => {
  const [answer] = ask("203.0.113.1:2000", plans(placed("huge", "main", "10.0.0.0/8", ["203.0.113.1"])));
  assert(answer?.question === "port");
  assert.deepEqual([answer.endpoints.tried, answer.endpoints.total], [MAX_ENDPOINTS_TRIED, 2 ** 24]);
  assert(answer.endpoints.count > answer.endpoints.first.length);
});

test("a whole public address shows every owner's ports", () => {
  const [answer] = ask("203.0.113.1");
  assert(answer?.question === "public-address");
  assert.deepEqual(Object.keys(answer.owners), ["a", "b", "c"]);
  assert.deepEqual(answer.owners.b?.slice(0, 2), ["2048-3071", "5120-6143"]);
});

test("an endpoint that two cells serve has an answer for each", () => {
  const other = placed("lab", "test", "10.0.0.0/24", ["203.0.113.3"]);
  const answers = ask("10.0.0.5", plans(web, other));
  assert.deepEqual(
    answers.map((answer) => [answer.cell, gatewayIn(answer)]),
    [
      ["main", "team-a/web"],
      ["test", "team-a/lab"],
    ],
  );
});

test("of two gateways in one cell the one with the longer prefix serves the endpoint, as on the nodes", () => {
  const narrow = placed("narrow", "main", "10.0.0.0/28", ["203.0.113.3"]);
  for (const known of [plans(web, narrow), plans(narrow, web)]) {
    assert.deepEqual(ask("10.0.0.5", known).map(gatewayIn), ["team-a/narrow"]);
    assert.deepEqual(ask("10.0.0.50", known).map(gatewayIn), ["team-a/web"]);
  }
});

test("a slot that nobody owns says so", () => {
  const [answer] = ask("203.0.113.1:2000", plans(placed("web", "main", "10.0.0.0/24", ["203.0.113.1"], [])));
  assert(answer?.question === "port");
  assert.deepEqual([answer.owner, answer.nextInLine], [NOBODY_TEXT, NOBODY_TEXT]);
});

test("what nobody holds is not found, and the error says what it is instead", () => {
  const waiting: Plans = { ...plans(web), placements: [] };
  for (const [text, reason, known] of [
    ["203.0.113.1:80", /port 80 .*1024 to 65535/, plans(web)],
    ["203.0.113.9:2000", /free address of the pool public/, plans(web)],
    ["198.51.100.1", /in no address pool and in no gateway's sources/, plans(web)],
    ["10.0.0.5", /team-a\/web, which has no public address yet/, waiting],
  ] as const) {
    const error = refusal(text, known);
    assert.equal(error.code, "NotFound");
    assert.match(error.message, reason);
  }
});

test("a question that is no address is refused", () => {
  for (const text of [
    "",
    "web",
    "10.0.0",
    "10.0.0.1:",
    "10.0.0.1:65536",
    "10.0.0.1:-1",
    "10.0.0.1:1:2",
    "::1",
  ]) {
    const error = refusal(text);
    assert.equal(error.code, "BadRequest", text);
  }
});

test("the owners' slots of an address are all its slots, and adjacent ones share a range", () => {
  const owners = fc.array(fc.integer({ min: -1, max: 2 }), { minLength: SLOTS, maxLength: SLOTS });
  fc.assert(
    fc.property(owners, (dealt) => {
      const [address] = web.placement.spec.addresses;
      const byOwner = slotsByOwner(web.placement, { ...address!, owners: dealt });
      const ranges = byOwner.flatMap(({ slots }) => mergedPorts(slots, PER_SLOT));
      assert.equal(
        ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0),
        SLOTS * PER_SLOT,
      );
      for (const { slots } of byOwner) {
        const merged = mergedPorts(slots, PER_SLOT);
        for (const [i, range] of merged.slice(1).entries()) assert(range.first > merged[i]!.last + 1);
      }
    }),
  );
});

const BLOCKS = { method: "Deterministic", portsPerEndpoint: 128 };

test("with deterministic allocation a port names the one endpoint that holds it, and the endpoint its block", () => {
  const farm = placed("farm", "main", "10.4.0.0/23", ["203.0.113.7", "203.0.113.8"], undefined, BLOCKS);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 511 }), fc.nat(127), (host, offset) => {
      const endpoint = formatAddress(cidr("10.4.0.0/23").first + host);
      const [forward] = ask(endpoint, plans(web, farm));
      assert(forward?.question === "endpoint");
      const [first, last] = forward.ports.split("-").map(Number);
      assert.equal(last! - first!, 127);
      const [back] = ask(`${forward.publicAddress}:${first! + offset}`, plans(web, farm));
      assert(back?.question === "port");
      assert.deepEqual(back.endpoints.first, [endpoint]);
      assert.equal(back.endpoints.count, 1);
    }),
  );
});

test("a port of a block that no address of the sources has is nobody's", () => {
  const farm = placed("farm", "main", "10.4.0.0/28", ["203.0.113.7"], undefined, BLOCKS);
  const [answer] = ask("203.0.113.7:65535", plans(farm));
  assert(answer?.question === "port");
  assert.deepEqual([answer.endpoints.count, answer.endpoints.first], [0, []]);
});

test("an endpoint whose block lies in an address that the pool could not give is told so", () => {
  const farm = placed(
    "farm",
    "main",
    "10.4.0.0/22",
    ["203.0.113.7", "203.0.113.8", "203.0.113.9"],
    [],
    BLOCKS,
  );
  const { spec } = farm.placement;
  const short = {
    ...farm,
    placement: { ...farm.placement, spec: { ...spec, addresses: spec.addresses.slice(0, 1) } },
  };
  assert.match(refusal("10.4.3.255", plans(short)).message, /has only 1 of 3 public addresses/);
});

test("an endpoint whose flows are spread has all slots of one address, and each port of it leads back", () => {
  const proxy = placed("proxy", "main", "10.6.0.0/30", ["203.0.113.7", "203.0.113.8"], undefined, {
    method: "Hashed",
    spread: "Flow",
  });
  const [forward] = ask("10.6.0.1", plans(proxy));
  assert(forward?.question === "spread-endpoint");
  assert.deepEqual(Object.keys(forward.owners), ["a", "b", "c"]);
  const [back] = ask(`${forward.publicAddress}:50000`, plans(proxy));
  assert(back?.question === "port");
  assert(back.endpoints.first.includes("10.6.0.1"));
});

test("a floating address is its host's, whichever way one asks, and a forwarded port is its target's", () => {
  const status = (address: string) => ({ observedGeneration: 1, address, conditions: [] });
  const host = { cell: "main", pool: "public", inside: "10.0.0.9" };
  const float = {
    ...(object("FloatingAddress", "host", host, "team-a") as FloatingAddress),
    status: status("203.0.113.9"),
  };
  const range = {
    ...{ cell: "main", protocol: "tcp", public: { gateway: "web" }, port: 8000, lastPort: 8001 },
    inside: { address: "10.0.0.5", port: 80 },
  };
  const forward = {
    ...(object("PortForward", "api", range, "team-a") as PortForward),
    status: status("203.0.113.1"),
  };
  const known = { ...plans(web), floats: [float], forwards: [forward] };
  for (const text of ["203.0.113.9", "203.0.113.9:22", "10.0.0.9"]) {
    const [answer, ...others] = ask(text, known);
    assert(answer?.question === "static" && others.length === 0);
    assert.deepEqual(
      [answer.name, answer.publicAddress, answer.inside],
      ["team-a/host", "203.0.113.9", "10.0.0.9"],
    );
  }
  const [answer] = ask("203.0.113.1:8001", known);
  assert(answer?.question === "static");
  assert.deepEqual([answer.name, answer.ports, answer.inside], ["team-a/api", "8000-8001", "10.0.0.5:80-81"]);
  assert.equal(ask("203.0.113.1:8002", known)[0]?.question, "port");
  assert.deepEqual(
    ask("203.0.113.1", known).map(({ question }) => question),
    ["static", "public-address"],
  );
  assert.deepEqual(
    ask("10.0.0.5", known).map(({ question }) => question),
    ["static", "endpoint"],
  );
});
