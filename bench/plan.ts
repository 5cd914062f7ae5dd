/**
 * How long planning takes: 1,000 nodes and 10,000 gateways, as 100 cells of 10 nodes and as one cell of 1,000.
 * Run with `node bench/plan.ts [ROUNDS]`.
 */

import { tableLines } from "../src/cli/table.ts";
import type { MemberState } from "../src/membership/membership.ts";
import type { AddressPool } from "../src/model/address-pool.ts";
import type { Cell } from "../src/model/cell.ts";
import { type GatewayNode, ZONE_LABEL } from "../src/model/gateway-node.ts";
import { formatAddress } from "../src/model/ipv4.ts";
import type { AnyObject, Kind, ObjectOf } from "../src/model/kinds.ts";
import { API_VERSION } from "../src/model/meta.ts";
import type { NatGateway } from "../src/model/nat-gateway.ts";
import type { Placement } from "../src/model/placement.ts";
import { validateObject } from "../src/model/validate.ts";
import { createPlanner, type Plan, type PlanInput, plan } from "../src/planner/plan.ts";
import { formatSummary, summarize } from "./statistics.ts";

const NODES = 1_000;
const GATEWAYS = 10_000;

function declare<K extends Kind>(kind: K, name: string, spec: unknown, labels = {}): ObjectOf<K> {
  const namespaced = kind === "NatGateway" || kind === "Placement";
  const metadata = { name, labels, ...(namespaced ? { namespace: "tenant" } : {}) };
  const object: AnyObject = validateObject({ apiVersion: API_VERSION, kind, metadata, spec });
  return { ...object, metadata: { ...object.metadata, uid: name, generation: 1 } } as ObjectOf<K>;
}

/** A cloud of so many cells. The nodes of each stand in three zones. */
function makeCloud(cellCount: number): PlanInput {
  const cells: Cell[] = [];
  const nodes: GatewayNode[] = [];
  const gateways: NatGateway[] = [];
  const members = new Map<string, MemberState>();
  for (let c = 0; c < cellCount; c++) {
    cells.push(declare("Cell", `cell-${c}`, {}));
    for (let n = 0; n < NODES / cellCount; n++) {
      const spec = {
        cell: `cell-${c}`,
        address: formatAddress(0x0a000000 + n),
        interfaces: { inside: "in0", outside: "out0" },
      };
      const node = declare("GatewayNode", `node-${c}-${n}`, spec, { [ZONE_LABEL]: `zone-${n % 3}` });
      const ready = { type: "Ready", status: "True", reason: "Programmed", message: "" } as const;
      const conditions = [{ ...ready, observedGeneration: 1, lastTransitionTime: "" }];
      nodes.push({ ...node, status: { observedGeneration: 1, counters: {}, conditions } });
      members.set(node.metadata.name, "alive");
    }
    for (let g = 0; g < GATEWAYS / cellCount; g++) {
      const sources = [`${formatAddress(0x0a000000 + g * 256)}/24`];
      const spec = { cell: `cell-${c}`, sources, addresses: { pool: "public" } };
      gateways.push(declare("NatGateway", `gateway-${c}-${g}`, spec));
    }
  }
  const pools: AddressPool[] = [declare("AddressPool", "public", { cidrs: ["198.18.0.0/16"] })];
  return { cells, nodes, pools, gateways, floats: [], forwards: [], placements: [], members };
}

/** The input of the next plan, after the store has taken what was planned. */
function published(input: PlanInput, result: Plan): PlanInput {
  const placements = [...result.placements].map(([key, spec]): Placement => {
    const [namespace = "", name = ""] = key.split("/");
    const { gateways } = input;
    const metadata = { ...gateways[0]!.metadata, namespace, name };
    return { apiVersion: API_VERSION, kind: "Placement", metadata, spec: structuredClone(spec) };
  });
  return { ...input, placements };
}

function without(input: PlanInput, node: string): PlanInput {
  return { ...input, members: new Map([...input.members, [node, "gone"]]) };
}

const results = new Map<string, number[]>();

function measure<T>(what: string, work: () => T): T {
  const start = performance.now();
  const result = work();
  const ms = performance.now() - start;
  const known = results.get(what);
  if (known) known.push(ms);
  else results.set(what, [ms]);
  return result;
}

function run(cellCount: number, title: string): void {
  const cloud = makeCloud(cellCount);
  const lost = cloud.nodes[Math.floor(NODES / 2)]!.metadata.name;
  const remembering = createPlanner();
  const first = measure(`${title}: from nothing`, () => remembering(cloud));
  const settled = published(cloud, first);
  measure(`${title}: first time after publishing, with memory`, () => remembering(settled));
  measure(`${title}: nothing changed, with memory`, () => remembering(settled));
  measure(`${title}: one node lost, with memory`, () => remembering(without(settled, lost)));
  measure(`${title}: nothing changed, without memory`, () => plan(settled));
  const after = measure(`${title}: one node lost, without memory`, () => plan(without(settled, lost)));
  moved.set(title, after.movedSlots);
}

const moved = new Map<string, number>();
const rounds = Number(process.argv[2] ?? 5);
for (let round = 0; round < rounds; round++) {
  run(100, "100 cells of 10 nodes");
  run(1, "1 cell of 1,000 nodes");
}

const rows = [...results].map(([what, times]) => [what, formatSummary(summarize(times))]);
console.log(
  tableLines([[`planning ${NODES} nodes, ${GATEWAYS} gateways`, "ms: median (min–max)"], ...rows]).join("\n"),
);
for (const [title, slots] of moved) console.log(`${title}: losing one node moved ${slots} slots`);
