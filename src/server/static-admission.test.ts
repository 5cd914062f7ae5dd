import assert from "node:assert/strict";
import { test } from "node:test";
import { declare, POOL, serveMemory, statusIn } from "./fixtures.ts";

const IN = "namespaces/team-a";

function floatSpec(inside: string, address?: string) {
  return { cell: "c1", pool: "p1", inside, ...(address && { address }) };
}

function forwardSpec(port: number, inside: string, insidePort: number, more: object = {}) {
  const target = { address: inside, port: insidePort };
  return { cell: "c1", protocol: "tcp", public: { gateway: "g1" }, port, inside: target, ...more };
}

const REFUSED: readonly {
  readonly name: string;
  readonly kind: "FloatingAddress" | "PortForward";
  readonly spec: object;
  readonly because: RegExp;
}[] = [
  {
    name: "a second floating address of a host",
    kind: "FloatingAddress",
    spec: floatSpec("10.9.0.1"),
    because: /spec\.inside: 10\.9\.0\.1 has the floating address of FloatingAddress team-a\/first already/,
  },
  {
    name: "an address that is asked for by another",
    kind: "FloatingAddress",
    spec: floatSpec("10.9.0.2", "203.0.113.1"),
    because: /spec\.address: 203\.0\.113\.1 is in use by FloatingAddress team-a\/first/,
  },
  {
    name: "an address outside of the pool",
    kind: "FloatingAddress",
    spec: floatSpec("10.9.0.2", "192.0.2.1"),
    because: /192\.0\.2\.1 is not in AddressPool p1 \(203\.0\.113\.0\/30\)/,
  },
  {
    name: "a port that is forwarded already",
    kind: "PortForward",
    spec: forwardSpec(8005, "10.9.0.7", 80),
    because: /spec\.port: tcp 8005 of NatGateway team-a\/g1 overlaps 8000-8010 of PortForward team-a\/range/,
  },
  {
    name: "a target that has a port already",
    kind: "PortForward",
    spec: forwardSpec(25, "10.9.0.5", 90),
    because: /spec\.inside: tcp 10\.9\.0\.5:90 is the target of PortForward team-a\/range too/,
  },
  {
    name: "a forward on somebody's floating address",
    kind: "PortForward",
    spec: forwardSpec(25, "10.9.0.8", 25, { public: { pool: "p1", address: "203.0.113.1" } }),
    because: /spec\.public\.address: 203\.0\.113\.1 is in use by FloatingAddress team-a\/first/,
  },
];

for (const { name, kind, spec, because } of REFUSED) {
  test(`${name} is refused at the door`, async (t) => {
    const { call } = await serveMemory(t);
    const plural = { FloatingAddress: "floatingaddresses", PortForward: "portforwards" };
    await call("POST", "addresspools", declare("AddressPool", "p1", POOL));
    const first = declare("FloatingAddress", "first", floatSpec("10.9.0.1", "203.0.113.1"), "team-a");
    assert.equal((await call("POST", `${IN}/floatingaddresses`, first)).code, 201);
    const range = forwardSpec(8000, "10.9.0.5", 80, { lastPort: 8010 });
    const declared = declare("PortForward", "range", range, "team-a");
    assert.equal((await call("POST", `${IN}/portforwards`, declared)).code, 201);
    const { message } = statusIn(
      await call("POST", `${IN}/${plural[kind]}`, declare(kind, "second", spec, "team-a")),
    );
    assert.match(message, because);
  });
}

test("a pool keeps the addresses that floating addresses have", async (t) => {
  const { call } = await serveMemory(t);
  await call("POST", "addresspools", declare("AddressPool", "p1", POOL));
  const held = declare("FloatingAddress", "first", floatSpec("10.9.0.1", "203.0.113.1"), "team-a");
  await call("POST", `${IN}/floatingaddresses`, held);
  const moved = declare("AddressPool", "p1", { cidrs: ["198.51.100.0/24"] });
  assert.match(
    statusIn(await call("PUT", "addresspools/p1", moved)).message,
    /203\.0\.113\.1 is in use by FloatingAddress team-a\/first/,
  );
  assert.match(
    statusIn(await call("DELETE", "addresspools/p1")).message,
    /in use by FloatingAddress team-a\/first; move or delete it first/,
  );
});
