/** `natto plan` and `natto diff` against a real control plane. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openStore } from "../store/open-store.ts";
import { changeLine, fieldChanges } from "./field-changes.ts";
import { EXAMPLE, natto, readyNode, startServer } from "./fixtures.ts";

test("what a change would do is told without doing it, and too large a blast radius has its own exit code", async (t) => {
  const { url: server } = await startServer(t, "--controller");
  await natto(["apply", "-f", EXAMPLE], { server });
  const store = await openStore(server);
  t.after(() => store.close());
  await readyNode(t, store, "a");

  const same = await natto(["plan", "-f", EXAMPLE, "--max-blast-radius", "0"], { server });
  assert.deepEqual([same.code, same.stderr], [0, ""]);
  assert.match(same.stdout, /^Blast radius: +0 %\nSlots that move: +0\nNodes that change: +0$/m);

  const web = await readFile(join(EXAMPLE, "gateway.yaml"), "utf8");
  const stdin = web.replace("count: 1", "count: 2");
  const second = await natto(["plan", "-f", "-", "-o", "json"], { server, stdin });
  const { gateways, nodes, blastRadiusPercent } = JSON.parse(second.stdout);
  assert.equal(gateways[0].slots.affected, 0);
  assert.equal(blastRadiusPercent, (100 * gateways[0].endpoints.affected) / 256);
  assert.deepEqual(nodes, [
    { node: "a", cell: "main", gains: 63, loses: 0, changes: ["gateway team-a/web: slots"] },
  ]);

  const gone = await natto(["plan", "--delete", "-f", "-", "--max-blast-radius", "50%"], { server, stdin });
  assert.equal(gone.code, 10);
  assert.match(
    gone.stdout,
    /^ {2}team-a\/web +removed +100 % +64512 of 64512 \(100 %\) +256 of 256 \(100 %\)$/m,
  );
  assert.match(gone.stderr, /^natto: the blast radius is 100 %, more than --max-blast-radius 50; /);

  const clash = web.replace("name: web", "name: rival");
  const rejected = await natto(["plan", "-f", "-"], { server, stdin: clash });
  assert.equal(rejected.code, 2);
  assert.match(rejected.stderr, /NatGateway team-a\/rival would be set aside: spec\.sources: /);

  const difference = await natto(["diff", "-f", "-"], { server, stdin });
  assert.equal(difference.code, 0);
  assert.match(
    difference.stdout,
    /^natgateway\.natto\.dev\/team-a\/web\n {2}~ spec\.addresses\.count: 1 -> 2$/m,
  );
  assert.match(
    difference.stdout,
    /^nodeconfig\.natto\.dev\/a\n {2}~ spec\.gateways\.team-a\/web\.addresses: /m,
  );

  const stored = (await store.list({ kind: "NatGateway" })).items;
  assert.deepEqual(
    stored.map(({ metadata, spec }) => [metadata.name, spec.addresses.count]),
    [["web", 1]],
  );
});

test("fields that come, go and change are told at their deepest place", () => {
  const before = { a: { b: 1, c: [1, 2] }, list: [{ x: 1 }, { x: 2 }], gone: true };
  const after = { a: { b: 2, c: [1, 3] }, list: [{ x: 1 }, { x: 3 }], fresh: "yes" };
  assert.deepEqual(fieldChanges(before, after, "").map(changeLine), [
    "~ a.b: 1 -> 2",
    "~ a.c: [1,2] -> [1,3]",
    "~ list[1].x: 2 -> 3",
    "- gone: true",
    '+ fresh: "yes"',
  ]);
  assert.deepEqual(fieldChanges(before, structuredClone(before), ""), []);
});
