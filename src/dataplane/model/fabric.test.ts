import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NO_LIMITS } from "../../model/nat-behaviour.ts";
import { parsePacket, TCP_FLAG, type Transport } from "../packet.ts";
import { type Cloud, deliver, newCloud } from "./fabric.ts";
import { worldArbitrary } from "./generators.ts";
import { replyTo } from "./scenario.ts";
import { buildSketch, echo, tcp, udp } from "./sketch.ts";
import type { AddressPort } from "./state.ts";
import { INTERFACE, ownerOfPublic, PLAN, planned, rolesOf, type World } from "./world.ts";

/** Worlds in which every slot has an owner that can be reached, and the tables have room. */
const wholeWorld = worldArbitrary(4096, false).map((world): World => {
  const nodes = world.nodes.map((node, i) => ({ ...node, address: planned(PLAN.nodes, i + 1) }));
  const gateways = world.gateways.map((g) => ({
    ...g,
    owners: g.owners.map((row) => row.map((o) => Math.max(o, 0))),
    behaviour: { ...g.behaviour, limits: NO_LIMITS },
  }));
  return { ...world, nodes, gateways };
});

const flow = fc.record({
  endpoint: fc.constantFrom(1, 2, 65, 66, 129).map((n) => planned(PLAN.endpoints, n)),
  remote: fc.constantFrom(1, 2).map((n) => planned(PLAN.remotes, n)),
  protocol: fc.constantFrom("tcp" as const, "udp" as const, "icmp" as const),
  sourcePort: fc.constantFrom(53, 1024, 40_000, 65_535),
  destinationPort: fc.constantFrom(53, 443),
  /** Where its packets come to, one after the other. */
  arrivals: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
  replies: fc.array(fc.nat(3), { maxLength: 4 }),
});
type Flow = typeof flow extends fc.Arbitrary<infer F> ? F : never;

function packetOf({ endpoint, remote, protocol, sourcePort, destinationPort }: Flow, first: boolean): Buffer {
  const flags = first ? TCP_FLAG.syn : TCP_FLAG.ack;
  const transports: Record<typeof protocol, Transport> = {
    tcp: tcp({ sourcePort, destinationPort, flags }),
    udp: udp({ sourcePort, destinationPort }),
    icmp: echo({ identifier: sourcePort }),
  };
  return buildSketch({ ip: { source: endpoint, destination: remote }, transport: transports[protocol] });
}

function ends(frame: Buffer): { readonly source: AddressPort; readonly destination: AddressPort } {
  const parsed = parsePacket(frame);
  assert.ok(parsed.ok && parsed.packet.transport.kind !== "raw");
  const { ip, transport } = parsed.packet;
  const ports =
    transport.kind === "icmp"
      ? { source: transport.identifier, destination: transport.identifier }
      : { source: transport.sourcePort, destination: transport.destinationPort };
  return {
    source: { address: ip.source, port: ports.source },
    destination: { address: ip.destination, port: ports.destination },
  };
}

interface Sent {
  readonly cloud: Cloud;
  readonly publicSide: AddressPort;
  readonly frame: Buffer;
}

/** Sends all packets of a flow, each to the node where it arrives, and checks that they leave alike. */
function sendAll(cloud: Cloud, f: Flow): Sent {
  const { world } = cloud;
  let now = cloud;
  let sent: Sent | undefined;
  f.arrivals.forEach((arrival, i) => {
    const node = arrival % world.nodes.length;
    const { cloud: next, end, path } = deliver(now, node, rolesOf(world)[0]!, packetOf(f, i === 0));
    assert.equal(end.kind, "left", `${JSON.stringify(end)} on the way ${JSON.stringify(path)}`);
    assert.ok(end.kind === "left" && end.ifindex === INTERFACE.outside);
    const { source } = ends(end.packet);
    assert.equal(
      end.node,
      ownerOfPublic(world, source.address, source.port),
      "it leaves from the owner of its port",
    );
    assert.deepEqual(
      source,
      sent?.publicSide ?? source,
      "all packets of a flow leave with the same address and port",
    );
    now = next;
    sent = { cloud: now, publicSide: source, frame: end.packet };
  });
  return sent!;
}

test("a flow leaves with one public address and port whichever nodes its packets come to, and replies to any node reach the endpoint", () => {
  fc.assert(
    fc.property(wholeWorld, fc.array(flow, { minLength: 1, maxLength: 8 }), (world, flows) => {
      let cloud = newCloud(world);
      for (const f of flows) {
        const sent = sendAll(cloud, f);
        cloud = sent.cloud;
        for (const arrival of f.replies) {
          const reply = replyTo(sent.frame, TCP_FLAG.ack)!;
          const node = arrival % world.nodes.length;
          const back = deliver(cloud, node, rolesOf(world).at(-1)!, reply);
          cloud = back.cloud;
          assert.ok(
            back.end.kind === "left" && back.end.ifindex === INTERFACE.inside,
            JSON.stringify(back.end),
          );
          const { destination } = ends(back.end.packet);
          assert.deepEqual(destination, { address: f.endpoint, port: f.sourcePort });
        }
      }
    }),
  );
});

test("all flows of an endpoint share a public address, and no two flows look the same to a remote", () => {
  fc.assert(
    fc.property(wholeWorld, fc.array(flow, { minLength: 2, maxLength: 12 }), (world, flows) => {
      let cloud = newCloud(world);
      const addressOf = new Map<number, number>();
      const holder = new Map<string, string>();
      for (const f of flows) {
        const { cloud: next, publicSide, frame } = sendAll(cloud, f);
        cloud = next;
        assert.equal(publicSide.address, addressOf.get(f.endpoint) ?? publicSide.address);
        addressOf.set(f.endpoint, publicSide.address);
        const { destination } = ends(frame);
        const remote = f.protocol === "icmp" ? f.remote : `${destination.address}:${destination.port}`;
        const seen = `${f.protocol} ${publicSide.address}:${publicSide.port} ${remote}`;
        const inside = `${f.endpoint}:${f.sourcePort}`;
        assert.equal(holder.get(seen) ?? inside, inside, seen);
        holder.set(seen, inside);
      }
    }),
  );
});

test("nodes that each take another one for the owner pass a packet on only so often, and then it is dropped or taken", () => {
  fc.assert(
    fc.property(wholeWorld, flow, (world, f) => {
      // Node 0 believes that node 1 owns everything, node 1 believes it of node 0.
      const believing = (owner: number): World => ({
        ...world,
        gateways: world.gateways.map((g) => ({ ...g, owners: g.owners.map((row) => row.map(() => owner)) })),
      });
      const views = world.nodes.map((_, node) => believing(node === 1 ? 0 : 1));
      const { end, path } = deliver({ ...newCloud(world), views }, 0, rolesOf(world)[0]!, packetOf(f, true));
      assert.ok(path.length > 2);
      assert.deepEqual(path[0]?.counters, ["steered_out"]);
      const counters = path.slice(1, -1).map((hop) => hop.counters.join());
      assert.deepEqual([...new Set(counters)], ["unwrapped,passed_on"]);
      if (end.kind !== "left")
        assert.deepEqual(end, { kind: "dropped", node: end.node, counter: "drop_not_owner" });
    }),
  );
});
