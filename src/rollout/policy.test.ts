import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NodeConfig } from "../model/node-config.ts";
import { version } from "./fixtures.ts";
import { policyOf, setAside, withPolicy } from "./policy.ts";

function config(...gateways: NodeConfig["spec"]["gateways"]): NodeConfig["spec"] {
  const node = { address: "192.0.2.1", interfaces: { inside: "in0", outside: "out0" } };
  return { cell: "c1", node, vxlan: { port: 4789 }, peers: [], gateways };
}

const gateways = fc
  .dictionary(fc.constantFrom("g1", "g2", "g3", "g4"), fc.integer({ min: 1, max: 3 }))
  .map((versions) => Object.entries(versions).map(([name, udp]) => version(name, udp)));

test("who owns which slot always follows the plan, all else the policy; what the policy does not know is withheld", () => {
  fc.assert(
    fc.property(gateways, gateways, (planned, before) => {
      const moved = planned.map((g) => ({ ...g, nodes: ["n2"] }));
      const spec = withPolicy(config(...moved), policyOf(before));
      for (const gateway of spec.gateways) {
        assert.deepEqual(gateway.nodes, ["n2"]);
        const own = before.find((g) => g.name === gateway.name);
        assert.deepEqual(gateway, { ...own, nodes: ["n2"] });
      }
      const names = [...spec.gateways.map((g) => `t/${g.name}`), ...(spec.withheld ?? [])];
      assert.deepEqual(names.toSorted(), planned.map((g) => `t/${g.name}`).toSorted());
    }),
  );
});

test("a configuration that follows the policy already stays the same object", () => {
  const planned = config(version("g1", 1), version("g2", 2));
  assert.equal(withPolicy(planned, policyOf([version("g2", 2), version("g1", 1)])), planned);
});

test("the same gateway under another uid is another gateway", () => {
  const planned = config({ ...version("g1", 1), uid: "made anew" });
  assert.deepEqual(withPolicy(planned, policyOf([version("g1", 1)])).withheld, ["t/g1"]);
});

test("in the place of what is set aside stands what was good, or nothing", () => {
  const good = policyOf([version("g1", 1)]);
  const planned = policyOf([version("g1", 2), version("g2", 2), version("g3", 3)]);
  const rejected = policyOf([version("g1", 2), version("g2", 2), version("g3", 1)]).gateways;
  const versions = setAside(planned, rejected, good).gateways.map((g) => [g.name, g.behaviour.timeouts.udp]);
  assert.deepEqual(versions, [
    ["g1", 1],
    ["g3", 3],
  ]);
});
