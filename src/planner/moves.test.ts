import assert from "node:assert/strict";
import { test } from "node:test";
import { API_VERSION } from "../model/meta.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { SlotMove } from "../model/placement.ts";
import type { PlacementSpec } from "./assignment.ts";
import { allAlive, cloud, gateway, node, publish, slotTable } from "./fixtures.ts";
import { DEFAULT_MOVE_SECONDS } from "./moves.ts";
import { type Plan, type PlanInput, plan } from "./plan.ts";

const KEY = "t/g1";
const START = Date.UTC(2026, 0, 1);
const LIMIT_MS = DEFAULT_MOVE_SECONDS * 1000;

type Move = Omit<SlotMove, "from"> & { readonly from: string | undefined };

/** `address/slot` → its move. */
function movesIn(spec: PlacementSpec | undefined): Map<string, Move> {
  return new Map(
    (spec?.addresses ?? []).flatMap(({ address, moves = [] }) =>
      moves.map((move) => [`${address}/${move.slot}`, { ...move, from: spec?.nodes[move.from] }]),
    ),
  );
}

function phases(spec: PlacementSpec | undefined): string[] {
  return [...new Set([...movesIn(spec).values()].map((move) => move.phase))];
}

/** What the store holds after a plan: placements, and configurations that every node of `applying` reports as applied. */
function settle(input: PlanInput, planned: Plan, applying: readonly string[]): PlanInput {
  const configs = [...planned.nodeConfigs].map(([name, spec]): NodeConfig => {
    const known = input.nodeConfigs?.find((config) => config.metadata.name === name);
    const generation = (known?.metadata.generation ?? 0) + 1;
    const metadata = {
      name,
      uid: name,
      labels: {},
      annotations: {},
      resourceVersion: "",
      generation,
      creationTimestamp: "",
    };
    return { apiVersion: API_VERSION, kind: "NodeConfig", metadata, spec: structuredClone(spec) };
  });
  const nodes = input.nodes.map((declared) => {
    const { name } = declared.metadata;
    const config = configs.find((c) => c.metadata.name === name);
    if (!config || !applying.includes(name)) return declared;
    const applied = { generation: config.metadata.generation, digest: "", at: "" };
    return { ...declared, status: { ...declared.status!, applied } };
  });
  return { ...publish(input, planned), nodes, nodeConfigs: configs };
}

const NAMES = ["n1", "n2", "n3"];
const begun = (names: readonly string[] = NAMES): PlanInput => {
  const input = cloud({ nodes: names.map((name) => node(name)), gateways: [gateway("g1")], now: START });
  return settle(input, plan(input), names);
};

const drained = (input: PlanInput, name: string): PlanInput => ({
  ...input,
  nodes: input.nodes.map((n) => (n.metadata.name === name ? { ...n, spec: { ...n.spec, drain: true } } : n)),
});

test("a gateway's first placement moves nothing", () => {
  assert.equal(movesIn(begun().placements[0]?.spec).size, 0);
});

test("a drained node's slots move to others, and name it as the one that had them", () => {
  const before = begun();
  const owners = slotTable(before.placements[0]?.spec, "owners");
  const planned = plan(drained(before, "n2"));
  const spec = planned.placements.get(KEY);
  const moves = movesIn(spec);
  const expected = [...owners].filter(([, owner]) => owner === "n2").map(([slot]) => slot);
  assert.deepEqual([...moves.keys()], expected);
  for (const move of moves.values()) {
    assert.deepEqual(
      [move.from, move.phase, move.until],
      ["n2", "shared", new Date(START + LIMIT_MS).toISOString()],
    );
  }
  assert.ok(![...slotTable(spec, "owners").values()].includes("n2"));
  assert.equal(planned.nextTurn, START + LIMIT_MS);
});

test("a move goes through its phases by time and by what the previous owner reports, and then it is forgotten", () => {
  let input = drained(begun(), "n2");
  const round = (now: number, applying: readonly string[] = NAMES): string[] => {
    const planned = plan({ ...input, now });
    input = settle(input, planned, applying);
    return phases(input.placements[0]?.spec);
  };
  assert.deepEqual(round(START), ["shared"]);
  assert.deepEqual(round(START + LIMIT_MS - 1), ["shared"], "not before its time");
  assert.deepEqual(round(START + LIMIT_MS, ["n1", "n3"]), ["clearing"]);
  assert.deepEqual(round(START + 2 * LIMIT_MS, NAMES), ["clearing"], "the previous owner has not reported");
  assert.deepEqual(round(START + 2 * LIMIT_MS), ["settled"]);
  assert.deepEqual(round(START + 3 * LIMIT_MS - 1), ["settled"]);
  assert.deepEqual(round(START + 3 * LIMIT_MS), []);
});

test("the ports change hands at once when the previous owner reports that no session is left in them", () => {
  const input = drained(begun(), "n2");
  const moved = settle(input, plan(input), NAMES);
  const slots = movesIn(moved.placements[0]?.spec).size;
  const reporting = (sessions: number): PlanInput => ({
    ...moved,
    nodes: moved.nodes.map((n) =>
      n.metadata.name === "n2" ? { ...n, status: { ...n.status!, moving: { slots, sessions } } } : n,
    ),
  });
  assert.deepEqual(phases(plan(reporting(1)).placements.get(KEY)), ["shared"]);
  assert.deepEqual(phases(plan(reporting(0)).placements.get(KEY)), ["clearing"]);
});

test("a node that is gone has let go; one whose agent is only silent has not", () => {
  const input = drained(begun(), "n2");
  const shared = settle(input, plan(input), NAMES);
  const clearing = settle(shared, plan({ ...shared, now: START + LIMIT_MS }), ["n1", "n3"]);
  const as = (state: "gone" | "unmanaged") =>
    plan({
      ...clearing,
      now: START + 2 * LIMIT_MS,
      members: new Map([...allAlive(clearing.nodes), ["n2", state] as const]),
    });
  assert.deepEqual(phases(as("unmanaged").placements.get(KEY)), ["clearing"]);
  assert.deepEqual(phases(as("gone").placements.get(KEY)), ["settled"]);
});

test("the ports of a node that is gone are cleared at once, and it has no flows to keep", () => {
  const before = begun();
  const members = new Map([...allAlive(before.nodes), ["n2", "gone"] as const]);
  assert.deepEqual(phases(plan({ ...before, members }).placements.get(KEY)), ["clearing"]);
  const input = drained(before, "n2");
  const shared = settle(input, plan(input), NAMES);
  assert.deepEqual(phases(plan({ ...shared, members }).placements.get(KEY)), ["clearing"]);
});

test("a node that joins takes its share, and nobody else's slots move; its own deadline holds when it drains", () => {
  const before = begun();
  const grown = { ...before, nodes: [...before.nodes, node("n4")] };
  const input = { ...grown, members: allAlive(grown.nodes) };
  const joined = settle(input, plan(input), [...NAMES, "n4"]);
  const owners = slotTable(joined.placements[0]?.spec, "owners");
  const moves = movesIn(joined.placements[0]?.spec);
  assert.ok(moves.size > 0);
  for (const slot of moves.keys()) assert.equal(owners.get(slot), "n4");

  const short = {
    ...before,
    nodes: before.nodes.map((n) =>
      n.metadata.name === "n2" ? { ...n, spec: { ...n.spec, drain: true, drainSeconds: 30 } } : n,
    ),
  };
  assert.equal(plan(short).nextTurn, START + 30_000);
});

test("a shorter deadline holds for moves that are under way", () => {
  const input = drained(begun(), "n2");
  const moved = settle(input, plan(input), NAMES);
  const shorter: PlanInput = {
    ...moved,
    now: START + 60_000,
    cells: moved.cells.map((cell) => ({ ...cell, spec: { ...cell.spec, moves: { deadlineSeconds: 60 } } })),
  };
  assert.deepEqual(phases(plan(moved).placements.get(KEY)), ["shared"]);
  assert.deepEqual(phases(plan(shorter).placements.get(KEY)), ["clearing"]);
});

test("an undrained node is given the slots back that it still has flows in", () => {
  const before = begun();
  const owners = slotTable(before.placements[0]?.spec, "owners");
  const input = drained(before, "n2");
  const away = settle(input, plan(input), NAMES);
  const back = plan({ ...away, nodes: before.nodes });
  assert.deepEqual(slotTable(back.placements.get(KEY), "owners"), owners);
  assert.deepEqual(phases(back.placements.get(KEY)), ["settled"], "new flows were with the others meanwhile");
});

test("a slot whose move is not finished stays with its owner, even if that one is drained; then it goes on", () => {
  const input = drained(begun(["n1", "n2", "n3", "n4"]), "n2");
  const all = ["n1", "n2", "n3", "n4"];
  const first = settle(input, plan(input), all);
  const moving = movesIn(first.placements[0]?.spec);
  const owners = slotTable(first.placements[0]?.spec, "owners");
  const [next] = [...moving.keys()].map((slot) => owners.get(slot)!);
  const second = settle(first, plan(drained(first, next!)), all);
  for (const slot of moving.keys()) {
    assert.equal(slotTable(second.placements[0]?.spec, "owners").get(slot), owners.get(slot), slot);
  }
  let last: PlanInput = drained(second, next!);
  for (let n = 1; n <= 4; n++) last = settle(last, plan({ ...last, now: START + n * LIMIT_MS }), all);
  assert.ok(![...slotTable(last.placements[0]?.spec, "owners").values()].includes(next!));
});

test("a slot whose move is not finished is not taken for a re-balance, though its previous owner can own nothing", () => {
  const input = drained(begun(), "n2");
  const first = settle(input, plan(input), NAMES);
  const moving = movesIn(first.placements[0]?.spec);
  const owners = slotTable(first.placements[0]?.spec, "owners");
  const grown = { ...first, nodes: [...first.nodes, node("n4"), node("n5"), node("n6")] };
  const after = plan({ ...grown, members: allAlive(grown.nodes) }).placements.get(KEY);
  assert.ok([...slotTable(after, "owners").values()].includes("n4"));
  for (const slot of moving.keys())
    assert.equal(slotTable(after, "owners").get(slot), owners.get(slot), slot);
});

test("planning again at the same time changes nothing, in any phase", () => {
  const input = drained(begun(), "n2");
  let current = settle(input, plan(input), NAMES);
  for (const now of [START, START + LIMIT_MS, START + 2 * LIMIT_MS, START + 3 * LIMIT_MS]) {
    current = settle(current, plan({ ...current, now }), NAMES);
    const again = plan({ ...current, now });
    const placement = again.placements.get(KEY);
    const settledNow = phases(placement);
    if (settledNow.join() === phases(current.placements[0]?.spec).join()) {
      assert.equal(placement, current.placements[0]?.spec);
    }
  }
});
