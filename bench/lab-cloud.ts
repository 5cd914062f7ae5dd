/** The cloud of the benches that lose nodes: a lab with BGP, and BFD as declared by default. */
import {
  configsApplied,
  eventually,
  gatewayReady,
  listObjects,
  natto,
  nodesReady,
  spreadOverNodes,
} from "../src/demo/cloud.ts";
import { CELL_ROUTING } from "../src/lab/bgp.ts";
import { natCloud } from "../src/lab/clouds.ts";
import { type Lab, upLab } from "../src/lab/lab.ts";
import { freshLabName } from "../src/lab/lab-name.ts";

const API = "natto.dev/v1alpha1";
const PATIENCE_MS = 60_000;
const OBJECTS = [
  {
    apiVersion: API,
    kind: "Cell",
    metadata: { name: "main" },
    spec: { routing: CELL_ROUTING, moves: { deadlineSeconds: 1 }, rollout: { bakeSeconds: 0 } },
  },
  { apiVersion: API, kind: "AddressPool", metadata: { name: "public" }, spec: { cidrs: ["203.0.113.0/28"] } },
  {
    apiVersion: API,
    kind: "NatGateway",
    metadata: { name: "web", namespace: "team-a" },
    // New flows are many, and each holds a port for so long.
    spec: {
      cell: "main",
      sources: ["10.0.0.0/24"],
      addresses: { pool: "public" },
      timeouts: { udp: 5 },
    },
  },
];

export interface BenchCloud {
  readonly lab: Lab;
  readonly nodes: readonly string[];
  readonly endpoints: readonly string[];
  /** Waits until the fabric spreads over all nodes, and each has its share of the slots and does what it is told. */
  settled(): Promise<void>;
}

/** Brings the cloud up, with a gateway for all endpoints at work. */
export async function upBenchCloud(
  name: string,
  counts: { readonly nodes: number; readonly endpoints: number },
): Promise<BenchCloud> {
  const lab = await upLab(natCloud({ ...counts, name: freshLabName(name), routing: "bgp" }));
  const named = (role: string) => lab.topology.hosts.filter((h) => h.role === role).map((h) => h.name);
  const nodes = named("node");
  for (const object of OBJECTS) await natto(lab, ["apply", "-f", "-"], JSON.stringify(object));
  await nodesReady(lab, nodes.length, PATIENCE_MS);
  const { status } = await gatewayReady(lab, "web", PATIENCE_MS);
  const addresses = status?.addresses ?? [];
  const settled = async () => {
    await spreadOverNodes(lab, addresses, PATIENCE_MS);
    await eventually("every node has its share of the slots, for good", PATIENCE_MS, async () => {
      const owners = (await listObjects(lab, "NatGateway"))[0]?.status?.owners ?? {};
      const slots = Object.values(owners).reduce((sum, n) => sum + n, 0);
      const moves = (await listObjects(lab, "Placement")).flatMap(({ spec }) =>
        spec.addresses.flatMap((placed) => placed.moves ?? []),
      );
      const least = Math.floor(slots / nodes.length);
      return (moves.length === 0 && nodes.every((node) => (owners[node] ?? 0) >= least)) || undefined;
    });
    await configsApplied(lab, nodes, PATIENCE_MS);
  };
  await settled();
  return { lab, nodes, endpoints: named("endpoint"), settled };
}
