/** fast-check arbitraries of peers' probes, and of nodes that were out of their reach. */
import fc from "fast-check";
import type { Step } from "./scenario.ts";
import { buildSketch, udp } from "./sketch.ts";
import { PROBE_VNI, VXLAN_FLAGS } from "./steer.ts";
import { rolesOf, VXLAN_PORT, type World, type WorldNode } from "./world.ts";

/** The frame of a peer's probe of a node, with this behind the VXLAN header. */
export function probeFrame(
  world: World,
  node: number,
  peer: WorldNode,
  sourcePort: number,
  content: Buffer,
): Buffer {
  const vxlan = Buffer.alloc(8);
  vxlan.writeUInt8(VXLAN_FLAGS, 0);
  vxlan.writeUIntBE(PROBE_VNI, 4, 3);
  const payload = Buffer.concat([vxlan, content]);
  const ip = { source: peer.address, destination: world.nodes[node]!.address };
  return buildSketch({ ip, transport: udp({ sourcePort, destinationPort: VXLAN_PORT, payload }) });
}

/** What the agent's prober sends behind the VXLAN header. */
export function probeContent(run: number, sequence: number): Buffer {
  const content = Buffer.alloc(8);
  content.writeUInt32BE(run, 0);
  content.writeUInt32BE(sequence >>> 0, 4);
  return content;
}

/** A peer's probe of the node: as its agent sends it, or with anything in it. */
export function probeArbitrary(world: World, node: number): fc.Arbitrary<Buffer> {
  const counted = fc.tuple(fc.constantFrom(1, 2), fc.nat(30)).map(([run, n]) => probeContent(run, n));
  const other = fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes));
  return fc
    .record({
      peer: fc.constantFrom(...world.nodes.filter((_, index) => index !== node)),
      sourcePort: fc.nat(65_535),
      content: fc.oneof({ weight: 4, arbitrary: counted }, { weight: 1, arbitrary: other }),
    })
    .map(({ peer, sourcePort, content }) => probeFrame(world, node, peer, sourcePort, content));
}

/**
 * Peers probe the node, then a time passes in which they reach it or do not, and they probe again. So a node begins that may stand down: whether
 * it does depends on how many peers there are, and what their probes say.
 */
export function cutOffArbitrary(world: World, node: number): fc.Arbitrary<readonly Step[]> {
  const role = rolesOf(world)[0]!;
  const peers = world.nodes.filter((_, index) => index !== node);
  const probe = (peer: WorldNode, run: number, sequence: number): Step => ({
    kind: "packet",
    role,
    frame: probeFrame(world, node, peer, 4789, probeContent(run, sequence)),
  });
  const before = fc.tuple(fc.constantFrom(0, 100, 2 ** 32 - 3), fc.constantFrom(10_000, 20_000));
  const runs = fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.constant(2));
  const passed = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(5, 50) }, fc.constantFrom(-1, 0, 1, 4));
  const after = fc.array(fc.tuple(fc.constantFrom(...peers), runs, passed), { minLength: 2, maxLength: 6 });
  return fc
    .tuple(before, after)
    .map(([[first, milliseconds], heard]) => [
      ...peers.map((peer) => probe(peer, 1, first)),
      { kind: "advance", milliseconds },
      ...heard.map(([peer, run, more]) => probe(peer, run, first + more)),
    ]);
}
