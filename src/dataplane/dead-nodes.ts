/** Which nodes are dead in the eyes of this one, as the program is told (bpf/moves.h). */
import { address } from "../model/ipv4.ts";
import { type KernelMaps, readNodes, writeArray } from "./kernel-maps.ts";
import { SELF } from "./layouts.ts";

/**
 * Says that the nodes with these addresses are dead until `until` (nanoseconds of the kernel's monotonic clock), and the others alive. Whoever is
 * not written again in time counts as alive: a verdict must not outlive the agent that it came from.
 */
export function writeDeadNodes(maps: KernelMaps, addresses: readonly string[], until: bigint): void {
  const dead = new Set(addresses.map(address));
  const nodes = readNodes(maps);
  const values = new BigUint64Array(1 + Math.max(SELF, ...nodes.keys()));
  for (const [index, node] of nodes) if (index !== SELF && dead.has(node)) values[index] = until;
  writeArray(maps.dead_nodes, 0, Buffer.from(values.buffer));
}
