import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parsePacket, TCP_FLAG } from "../packet.ts";
import { datagram, ENDPOINT, EXAMPLE, ping, REMOTE, segment, slotOf } from "./example.ts";
import { type Cloud, deliver, newCloud } from "./fabric.ts";
import { replyTo } from "./scenario.ts";
import { INTERFACE, moveSlot, type World } from "./world.ts";

/** The endpoint's slot moves from node 0 to node 1; node 2, its backup, and node 3 look on. */
const [OLD_OWNER, NEW_OWNER] = [0, 1];
const NODES = [...EXAMPLE.nodes, { name: "node-3", address: EXAMPLE.nodes[2]!.address + 1 }];
const SLOT = slotOf(ENDPOINT);

/** All slots are node 0's but the last one, which is node 1's if it has any of its own. */
function cell(newOwnerHasSlots: boolean): World {
  const gateway = EXAMPLE.gateways[0]!;
  const owners = gateway.owners.map((row) =>
    newOwnerHasSlots ? row.with(row.length - 1, NEW_OWNER) : [...row],
  );
  return { ...EXAMPLE, nodes: NODES, gateways: [{ ...gateway, owners }] };
}

/** The world before the move, in each of its phases, and after it. */
function stagesOf(world: World): readonly World[] {
  const moving = (phase: "shared" | "clearing" | "settled") =>
    moveSlot(world, SLOT, NEW_OWNER, { from: OLD_OWNER, phase });
  return [world, moving("shared"), moving("clearing"), moving("settled"), moveSlot(world, SLOT, NEW_OWNER)];
}

const { syn, ack } = TCP_FLAG;
const PROTOCOLS = {
  tcp: (port: number, first: boolean) => segment(first ? syn : ack, { sourcePort: port }),
  udp: (port: number) => datagram({ sourcePort: port }),
  icmp: (port: number) => ping(port),
};
type Protocol = keyof typeof PROTOCOLS;

interface Flow {
  readonly protocol: Protocol;
  readonly port: number;
  /** The node that the fabric brings its outbound packets to, and the one for what comes back. */
  readonly outbound: number;
  readonly inbound: number;
}

const node = fc.nat(NODES.length - 1);
const flowArbitrary: fc.Arbitrary<Flow> = fc.record({
  protocol: fc.constantFrom<Protocol>("tcp", "udp", "icmp"),
  port: fc.integer({ min: 2000, max: 2050 }),
  outbound: node,
  inbound: node,
});
const flowsArbitrary = fc.uniqueArray(flowArbitrary, {
  minLength: 1,
  maxLength: 5,
  selector: (flow) => flow.port,
});

/** Sends a packet of a flow and its answer; returns the cloud and the outside address and port that the remote has seen. */
function exchange(cloud: Cloud, flow: Flow, first: boolean): { cloud: Cloud; outside: string; by: number } {
  const out = deliver(cloud, flow.outbound, "inside", PROTOCOLS[flow.protocol](flow.port, first));
  const { end } = out;
  assert.ok(end.kind === "left" && end.ifindex === INTERFACE.outside, `${JSON.stringify(out.path)}`);
  const sent = parsePacket(end.packet);
  assert.ok(sent.ok && sent.packet.transport.kind !== "raw");
  const { ip, transport } = sent.packet;
  const port = transport.kind === "icmp" ? transport.identifier : transport.sourcePort;
  assert.equal(ip.destination, REMOTE);
  const back = deliver(out.cloud, flow.inbound, "outside", replyTo(end.packet, syn | ack)!);
  assert.ok(
    back.end.kind === "left" && back.end.ifindex === INTERFACE.inside,
    `${JSON.stringify(back.path)}`,
  );
  return { cloud: back.cloud, outside: `${ip.source}:${port}`, by: end.node };
}

/** The nodes as they see the world: some at this stage, the others at the next. */
const isAhead = fc.array(fc.boolean(), { minLength: NODES.length, maxLength: NODES.length });

test("a flow is kept through the move of its slot, whichever nodes hear of it first, and so are flows that begin meanwhile", () => {
  fc.assert(
    fc.property(fc.boolean(), flowsArbitrary, flowsArbitrary, isAhead, (seed, early, late, ahead) => {
      const stages = stagesOf(cell(seed));
      const known = new Map<Flow, string>();
      let cloud = newCloud(stages[0]!);
      const send = (flow: Flow) => {
        const { cloud: next, outside } = exchange(cloud, flow, !known.has(flow));
        assert.equal(known.get(flow) ?? outside, outside, "the remote sees the same address and port");
        known.set(flow, outside);
        cloud = next;
      };
      for (const flow of early) send(flow);
      const taken = new Set(early.map((flow) => flow.port));
      const fresh = late.filter((flow) => !taken.has(flow.port));
      cloud = { ...cloud, views: ahead.map((next) => stages[next ? 1 : 0]!) };
      for (const flow of [...early, ...fresh, ...fresh]) send(flow);
      cloud = { ...cloud, views: NODES.map(() => stages[1]!) };
      for (const flow of [...early, ...fresh]) send(flow);
      const seen = [...known].map(([flow, outside]) => `${flow.protocol} ${outside}`);
      assert.equal(new Set(seen).size, seen.length, "no two flows look the same to the remote");
    }),
  );
});

test("flows that begin during a move outlive the slot's hand-over; in the end new ones get its own ports, of the new owner", () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      flowsArbitrary,
      fc.array(isAhead, { minLength: 2, maxLength: 2 }),
      (seed, flows, steps) => {
        const stages = stagesOf(cell(seed));
        let cloud: Cloud = { ...newCloud(stages[1]!) };
        const known = new Map<Flow, string>();
        const send = (flow: Flow) => {
          const { cloud: next, outside } = exchange(cloud, flow, !known.has(flow));
          assert.equal(known.get(flow) ?? outside, outside, "the remote sees the same address and port");
          known.set(flow, outside);
          cloud = next;
        };
        for (const flow of flows) send(flow);
        for (const [i, ahead] of steps.entries()) {
          cloud = { ...cloud, views: ahead.map((next) => stages[1 + i + Number(next)]!) };
          for (const flow of flows) send(flow);
        }
        cloud = { ...cloud, views: NODES.map(() => stages[3]!) };
        for (const flow of flows) send(flow);
        const fresh = { protocol: "tcp", port: 3000, outbound: 2, inbound: 3 } as const;
        assert.equal(exchange(cloud, fresh, true).by, NEW_OWNER);
      },
    ),
  );
});

test("the port of a slot in a move is never given out by two nodes", () => {
  fc.assert(
    fc.property(fc.boolean(), isAhead, fc.nat(3), flowsArbitrary, (seed, ahead, stage, flows) => {
      const stages = stagesOf(cell(seed));
      let cloud: Cloud = {
        ...newCloud(stages[0]!),
        views: ahead.map((next) => stages[stage + Number(next)]!),
      };
      const holders = new Map<string, number>();
      // The same flows from every node, so that old and new owner are both asked for the same ports.
      for (const arrival of NODES.keys()) {
        for (const flow of flows) {
          const frame = PROTOCOLS[flow.protocol](flow.port, true);
          const { cloud: next, end } = deliver(cloud, arrival, "inside", frame);
          cloud = next;
          if (end.kind !== "left") continue;
          const outside = `${flow.protocol} ${end.packet.toString("hex", 26, 30)}:${end.packet.toString("hex", 34, 36)}`;
          assert.equal(holders.get(outside) ?? end.node, end.node, outside);
          holders.set(outside, end.node);
        }
      }
    }),
  );
});

test("while the owner is dead its backup takes new flows, in ports of its own, which stay its own when the owner is back", () => {
  const owned = (slot: number) => slot % 3;
  const gateway = EXAMPLE.gateways[0]!;
  const world: World = {
    ...EXAMPLE,
    gateways: [{ ...gateway, owners: [gateway.owners[0]!.map((_, slot) => owned(slot))] }],
  };
  const owner = owned(SLOT.number);
  const backup = (owner + 1) % 3;
  const third = (owner + 2) % 3;
  const bereaved: World = { ...world, dead: [owner] };
  const flow: Flow = { protocol: "tcp", port: 2000, outbound: third, inbound: third };
  const dead: Cloud = { ...newCloud(world), views: world.nodes.map(() => bereaved) };
  const first = exchange(dead, flow, true);
  assert.equal(first.by, backup);
  const port = Number(first.outside.split(":")[1]);
  assert.equal(owned(Math.floor((port - 1024) / gateway.portsPerSlot)), backup);
});

test("a node that alone takes the owner for dead reaches it through the backup, which knows better", () => {
  const world = cell(false);
  const views = world.nodes.map((_, n) => (n === 3 ? { ...world, dead: [OLD_OWNER] } : world));
  const { by } = exchange(
    { ...newCloud(world), views },
    { protocol: "udp", port: 2000, outbound: 3, inbound: 3 },
    true,
  );
  assert.equal(by, OLD_OWNER);
});
