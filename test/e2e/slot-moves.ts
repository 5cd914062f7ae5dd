/** Where the slots of the gateway `web` are, and whether they are at rest. */
import assert from "node:assert/strict";
import { configsApplied, listObjects, natto } from "../../src/demo/cloud.ts";
import { hostAddress } from "../../src/demo/flow-paths.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { outboundSlotOf } from "../../src/model/slots.ts";
import { cellAndPool, hostsOf, PATIENCE_MS, placementOf, until } from "./fixture.ts";

/** Node → how many slots it owns. */
export async function ownersOf(lab: Lab): Promise<Readonly<Record<string, number>>> {
  return (await listObjects(lab, "NatGateway")).find((g) => g.metadata.name === "web")?.status?.owners ?? {};
}

/** The node that owns the slot of an endpoint's flows. */
export async function ownerOfEndpoint(lab: Lab, host: string): Promise<string> {
  const { addresses, nodes, portsPerSlot } = (await placementOf(lab, "web")).spec;
  const texts = addresses.map((placed) => placed.address);
  const { addressIndex, slot } = outboundSlotOf(hostAddress(lab, host), texts, portsPerSlot);
  const owner = nodes[addresses[addressIndex]?.owners[slot] ?? -1];
  assert(owner !== undefined, `the slot of ${host} has an owner`);
  return owner;
}

/** Phase → how many slots are in it. */
export async function phasesOf(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const { spec } = await placementOf(lab, "web");
  const counts: Record<string, number> = {};
  for (const { phase } of spec.addresses.flatMap((placed) => placed.moves ?? [])) {
    counts[phase] = (counts[phase] ?? 0) + 1;
  }
  return counts;
}

/** Waits until all nodes, or these, do what their configuration of now says. */
export async function untilApplied(lab: Lab, nodes = hostsOf(lab, "node")): Promise<void> {
  await configsApplied(lab, nodes, PATIENCE_MS);
}

/** Waits until every node has its share of the slots: one that was lost gets them back, and that moves flows. */
export async function untilBalanced(lab: Lab): Promise<void> {
  const nodes = hostsOf(lab, "node");
  await until("every node has its share", async () => {
    const owners = await ownersOf(lab);
    const slots = Object.values(owners).reduce((sum, n) => sum + n, 0);
    return slots > 0 && nodes.every((node) => (owners[node] ?? 0) >= Math.floor(slots / nodes.length));
  });
  await untilApplied(lab);
}

/**
 * Ends the moves that are under way, and what begins from now on soon: flows that begin while such a short deadline runs would be cut when it
 * passes. `spec` is what else the cell is; `nodes` those that are not dead.
 */
export async function finishMoves(lab: Lab, spec: object = {}, nodes = hostsOf(lab, "node")): Promise<void> {
  await natto(lab, ["apply", "-f", "-"], cellAndPool({ ...spec, moves: { deadlineSeconds: 1 } }));
  await until("no slot is in a move", async () => Object.keys(await phasesOf(lab)).length === 0);
  await untilApplied(lab, nodes);
}

/** The same, and moves that begin from now on may take as long as they may by default. */
export async function settleMoves(lab: Lab, spec: object = {}, nodes = hostsOf(lab, "node")): Promise<void> {
  await finishMoves(lab, spec, nodes);
  await natto(lab, ["apply", "-f", "-"], cellAndPool(spec));
}
