import assert from "node:assert/strict";
import { test } from "node:test";
import { DEPENDENCES, effectiveFiltering, looserThanMapping } from "./nat-behaviour.ts";

test("a filter that is not given is address-dependent, or narrower where the mapping is, and never looser than it", () => {
  for (const udp of DEPENDENCES) {
    for (const tcp of DEPENDENCES) {
      const mapping = { udp, tcp };
      const filtering = effectiveFiltering({ mapping, filtering: {} });
      const wanted = (own: string) =>
        own === "AddressAndPortDependent" ? "AddressAndPortDependent" : "AddressDependent";
      assert.deepEqual(filtering, { udp: wanted(udp), tcp: wanted(tcp) });
      assert.deepEqual(looserThanMapping({ mapping, filtering }), []);
    }
  }
});

test("of the nine combinations the three whose filter is looser than the mapping contradict themselves", () => {
  const contradictory = DEPENDENCES.flatMap((mapping) =>
    DEPENDENCES.filter(
      (filter) =>
        looserThanMapping({ mapping: { udp: mapping, tcp: mapping }, filtering: { udp: filter } })[0],
    ).map((filter) => [mapping, filter]),
  );
  assert.deepEqual(contradictory, [
    ["AddressDependent", "EndpointIndependent"],
    ["AddressAndPortDependent", "EndpointIndependent"],
    ["AddressAndPortDependent", "AddressDependent"],
  ]);
});
