import assert from "node:assert/strict";
import { test } from "node:test";
import { ENDPOINT, EXAMPLE, PUBLIC, REMOTE, slotOf } from "../dataplane/model/example.ts";
import { moveSlot, nodeConfigOf, type World } from "../dataplane/model/world.ts";
import { NattoError } from "../errors.ts";
import { formatAddress } from "../model/ipv4.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { NOBODY } from "../model/placement.ts";
import { slotPorts } from "../model/slots.ts";
import { validateObject } from "../model/validate.ts";
import type { ReportedSession } from "./session-report.ts";
import { parseFlags, type TracedPacket, trace } from "./trace.ts";

const SLOT = slotOf(ENDPOINT);
/** The endpoint's slot is node-1's, all others are node-0's. */
const WORLD = moveSlot(EXAMPLE, SLOT, 1);
const SYN: TracedPacket = {
  protocol: "tcp",
  from: { address: ENDPOINT, port: 5000 },
  to: { address: REMOTE, port: 443 },
  flags: parseFlags("syn"),
};

function configsOf(world: World): NodeConfig[] {
  return world.nodes.map(({ name }, i) => {
    const object = { apiVersion: "natto.dev/v1alpha1", kind: "NodeConfig", metadata: { name } };
    const config = validateObject({ ...object, spec: nodeConfigOf(world, i) });
    assert(config.kind === "NodeConfig");
    return config;
  });
}

const said = (packet: TracedPacket, at?: string, world = WORLD) =>
  trace(packet, configsOf(world), at).steps.map(({ node, what }) => `${node}: ${what}`);

test("a new flow is steered to the owner of its slot, which translates it", () => {
  const { result, leaves, direction } = trace(SYN, configsOf(WORLD), "node-0");
  assert.deepEqual([direction, result], ["outbound", "forwarded"]);
  assert.equal(leaves?.from.address, PUBLIC);
  const ports = slotPorts(SLOT.number, SLOT.portsPerSlot);
  assert.ok(leaves.from.port >= ports.first && leaves.from.port <= ports.last);
  assert.deepEqual(said(SYN, "node-0"), [
    `node-0: ${formatAddress(ENDPOINT)} is in the sources of gateway default/gateway`,
    `node-0: slot ${SLOT.number} of ${formatAddress(PUBLIC)}, ports ${ports.first}-${ports.last}, by its address`,
    "node-0: owned by node-1, next in line: node-2",
    "node-0: wrapped, and sent to the node that owns the slot (node-1)",
    "node-1: unwrapped",
    "node-1: a session begins",
    "node-1: translated, and sent toward the remote",
  ]);
});

test("at the owner nothing is wrapped", () => {
  assert.deepEqual(said(SYN, "node-1").slice(2), [
    "node-1: owned by this node, next in line: node-2",
    "node-1: a session begins",
    "node-1: translated, and sent toward the remote",
  ]);
});

test("what is dropped ends with the reason", () => {
  const middle = said({ ...SYN, flags: parseFlags("ack") }, "node-1");
  assert.match(
    middle.join("\n"),
    /dropped: the middle of a TCP connection that is not known\n.*answered with a TCP reset$/,
  );
  const lost = trace(SYN, configsOf(moveSlot(EXAMPLE, SLOT, NOBODY)), "node-0");
  assert.equal(lost.result, "dropped");
  assert.equal(lost.steps.at(-1)?.what, "dropped: the slot has no owner");
});

test("an answer comes in only with the session that the owner has", () => {
  const port = slotPorts(SLOT.number, SLOT.portsPerSlot).first;
  const reply = { ...SYN, from: SYN.to, to: { address: PUBLIC, port }, flags: parseFlags("syn,ack") };
  const unasked = trace(reply, configsOf(WORLD), "node-2");
  assert.deepEqual([unasked.direction, unasked.result], ["inbound", "dropped"]);
  const end = (of: { address: number; port: number }) => ({ ...of, address: formatAddress(of.address) });
  const session: ReportedSession = {
    ...{ gateway: "default/gateway", slot: SLOT.number, protocol: "tcp" },
    ...{ inside: end(SYN.from), public: end(reply.to), remote: end(SYN.to) },
  };
  const asked = trace(reply, configsOf(WORLD), "node-2", new Map([["node-1", [session]]]));
  assert.equal(asked.result, "forwarded");
  assert.deepEqual(asked.leaves?.to, SYN.from);
});

test("what is nobody's goes to the kernel", () => {
  const stranger = { ...SYN, from: { address: REMOTE, port: 1 }, to: { address: REMOTE + 1, port: 2 } };
  assert.deepEqual(said(stranger, "node-0"), [
    `node-0: ${formatAddress(REMOTE)} is in no gateway's sources`,
    "node-0: not Natto's: left to the kernel as it is",
  ]);
});

test("a node or flag that does not exist is refused by name", () => {
  const code = (error: unknown) => (error instanceof NattoError ? error.code : "");
  assert.throws(
    () => trace(SYN, configsOf(WORLD), "node-9"),
    (e) => code(e) === "NotFound",
  );
  assert.throws(
    () => parseFlags("syn,urgent"),
    (e) => code(e) === "BadRequest",
  );
});
