import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NodeConfig } from "../model/node-config.ts";
import {
  ACCEPTED,
  acceptance,
  gatewayKey,
  type JudgementContext,
  judgeConfig,
  type Verdict,
} from "./config-judgement.ts";
import { nodeConfig } from "./fixtures.ts";

const CONTEXT: JudgementContext = {
  node: "a",
  cell: "c1",
  held: undefined,
  declared: undefined,
  doubted: undefined,
};

function judge(config: NodeConfig, context: Partial<JudgementContext> = {}): Verdict {
  return judgeConfig({ kind: "present", config }, { ...CONTEXT, ...context });
}

function reasonOf(verdict: Verdict): string {
  return verdict.verdict === "doubt" ? verdict.reason : verdict.verdict;
}

function madeAnew(config: NodeConfig): NodeConfig {
  return { ...config, metadata: { ...config.metadata, uid: "another" } };
}

function ofGeneration(config: NodeConfig, generation: number): NodeConfig {
  return { ...config, metadata: { ...config.metadata, generation } };
}

/** The keys of the fixture's gateways from one number up to another. */
function keys(from: number, to: number): Set<string> {
  return new Set(Array.from({ length: to - from }, (_, i) => gatewayKey("team", `gw-${from + i}`)));
}

test("a node without a configuration waits for one, and obeys the first, even an empty one", () => {
  assert.equal(reasonOf(judgeConfig({ kind: "missing" }, CONTEXT)), "wait");
  assert.equal(reasonOf(judge(nodeConfig(0))), "obey");
  assert.equal(reasonOf(judge(nodeConfig(3))), "obey");
});

test("a deleted configuration is never obeyed", () => {
  const verdict = judgeConfig({ kind: "missing" }, { ...CONTEXT, held: nodeConfig(0) });
  assert.equal(reasonOf(verdict), "Deleted");
});

test("a configuration of another cell is doubted, with or without one that is held", () => {
  const other = nodeConfig(1, { cell: "c2" });
  assert.equal(reasonOf(judge(other)), "OtherCell");
  assert.equal(reasonOf(judge(other, { held: nodeConfig(1) })), "OtherCell");
});

test("the loss of the only gateway is obeyed when the object is the same, and doubted when it was made anew", () => {
  assert.equal(reasonOf(judge(nodeConfig(0), { held: nodeConfig(1) })), "obey");
  assert.equal(reasonOf(judge(madeAnew(nodeConfig(0)), { held: nodeConfig(1) })), "RolledBack");
});

test("the loss of most gateways is obeyed only when none of the lost ones is declared any more", () => {
  const held = nodeConfig(10);
  const news = nodeConfig(4);
  assert.equal(reasonOf(judge(news, { held })), "ask");
  assert.equal(reasonOf(judge(news, { held, declared: keys(0, 4) })), "obey");
  assert.equal(reasonOf(judge(news, { held, declared: keys(20, 25) })), "obey");
  const verdict = judge(news, { held, declared: keys(0, 6) });
  assert.ok(verdict.verdict === "doubt");
  assert.match(
    verdict.message,
    /lost 6 of 10 gateways at once, of which 2 are still declared \(team\/gw-4\)/,
  );
  assert.match(verdict.message, /last good configuration stands; .*if it is meant/);
});

test("the loss of gateways that a rollout withholds is obeyed, and of no others", () => {
  const withheld = [...keys(4, 10)];
  const judgeKept = (config: NodeConfig): string =>
    reasonOf(judge(config, { held: nodeConfig(10), declared: keys(0, 10) }));
  assert.equal(judgeKept(nodeConfig(4, { withheld })), "obey");
  assert.equal(judgeKept(nodeConfig(3, { withheld })), "Emptied");
});

test("a configuration that was made anew is doubted for any gateway that it lacks, and obeyed when it has them all", () => {
  for (const has of [0, 2, 3]) {
    const verdict = judge(madeAnew(nodeConfig(has)), { held: nodeConfig(4), declared: new Set() });
    assert.equal(reasonOf(verdict), "RolledBack");
  }
  assert.equal(reasonOf(judge(madeAnew(nodeConfig(4)), { held: nodeConfig(4) })), "obey");
  assert.equal(reasonOf(judge(madeAnew(nodeConfig(9)), { held: nodeConfig(4) })), "obey");
});

test("a generation older than the one held that lacks a gateway is doubted, also when it is counted on from there", () => {
  const held = ofGeneration(nodeConfig(4), 12);
  const old = judge(ofGeneration(nodeConfig(3), 9), { held });
  assert.equal(reasonOf(old), "RolledBack");
  assert.match(old.verdict === "doubt" ? old.message : "", /generation 9, older than 12.*natto accept/);
  const later = { held, doubted: "RolledBack" } as const;
  assert.equal(reasonOf(judge(ofGeneration(nodeConfig(3), 13), later)), "RolledBack");
  assert.equal(reasonOf(judge(ofGeneration(nodeConfig(4), 13), later)), "obey");
  assert.equal(reasonOf(judge(ofGeneration(nodeConfig(3), 13), { held })), "obey");
});

test("a past that an operator has accepted is obeyed once all that is declared is there, from that generation of that object on", () => {
  const held = ofGeneration(nodeConfig(4), 12);
  const news = madeAnew(ofGeneration(nodeConfig(3), 5));
  const accept = (config: NodeConfig, value: string): NodeConfig => ({
    ...config,
    metadata: { ...config.metadata, annotations: { [ACCEPTED]: value } },
  });
  const accepted = accept(news, acceptance(news));
  assert.equal(reasonOf(judge(accepted, { held })), "ask");
  assert.equal(reasonOf(judge(accepted, { held, declared: keys(0, 3) })), "obey");
  assert.equal(reasonOf(judge(ofGeneration(accepted, 6), { held, declared: keys(0, 3) })), "obey");
  assert.equal(reasonOf(judge(accepted, { held, declared: keys(0, 4) })), "RolledBack");
  const withheld = { ...accepted, spec: { ...accepted.spec, withheld: [...keys(3, 4)] } };
  assert.equal(reasonOf(judge(withheld, { held, declared: keys(0, 4) })), "RolledBack");
  assert.equal(reasonOf(judge(ofGeneration(accepted, 4), { held, declared: keys(0, 3) })), "RolledBack");
  assert.equal(reasonOf(judge(accept(news, "other 1"), { held, declared: keys(0, 3) })), "RolledBack");
});

test("doubt never falls on a sound configuration of the same object that keeps at least half of the gateways", () => {
  const count = fc.integer({ min: 0, max: 12 });
  fc.assert(
    fc.property(count, count, (had, has) => {
      fc.pre(has * 2 >= had);
      assert.equal(reasonOf(judge(nodeConfig(has), { held: nodeConfig(had) })), "obey");
    }),
  );
});

test("what does not follow the schema is doubted with its fault", () => {
  const verdict = judgeConfig({ kind: "unknown", fault: "spec.x: unknown field" }, CONTEXT);
  assert.ok(verdict.verdict === "doubt");
  assert.match(verdict.message, /spec\.x: unknown field; .*upgrade the agent/);
});

test("a configuration that contradicts itself is doubted, and the message names the field", () => {
  const sound = nodeConfig(2);
  const [first, second] = sound.spec.gateways;
  assert.ok(first && second);
  const [placed] = first.addresses;
  assert.ok(placed);
  const broken: readonly [RegExp, NodeConfig["spec"]["gateways"]][] = [
    [
      /gateways\[1\]\.addresses: 198\.51\.100\.0 of team\/gw-1 also belongs to team\/gw-0/,
      [first, { ...second, addresses: [placed] }],
    ],
    [/gateways\[0\]\.nodes: names z/, [{ ...first, nodes: ["a", "z"] }]],
    [
      /addresses\[0\]: has 6 owners/,
      [{ ...first, addresses: [{ ...placed, owners: placed.owners.slice(1) }] }],
    ],
    [
      /addresses\[0\]: refers to a node beyond/,
      [{ ...first, addresses: [{ ...placed, backups: placed.backups.map(() => 2) }] }],
    ],
  ];
  for (const [expected, gateways] of broken) {
    const verdict = judge({ ...sound, spec: { ...sound.spec, gateways } });
    assert.ok(verdict.verdict === "doubt" && verdict.reason === "Invalid", String(expected));
    assert.match(verdict.message, expected);
  }
  const stranger = { ...sound, metadata: { ...sound.metadata, name: "b" } };
  assert.equal(reasonOf(judge(stranger)), "Invalid");
});
