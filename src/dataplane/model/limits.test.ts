import assert from "node:assert/strict";
import { test } from "node:test";
import { type NatBehaviour, NO_LIMITS } from "../../model/nat-behaviour.ts";
import { TCP_FLAG } from "../packet.ts";
import {
  type Bench,
  behaving,
  datagram,
  newBench,
  OTHER_ENDPOINT,
  OTHER_REMOTE,
  ping,
  segment,
} from "./example.ts";

const { syn } = TCP_FLAG;
const limited = (limits: Partial<NatBehaviour["limits"]>, change: Partial<NatBehaviour> = {}): Bench =>
  newBench(behaving({ limits: { ...NO_LIMITS, ...limits }, ...change }));

/** How many of so many new connections of the endpoint were let out, and what the last was counted as. */
function flood(node: Bench, count: number, firstPort = 2000): readonly [number, string] {
  const counters = Array.from({ length: count }, (_, i) => {
    return node.receive(segment(syn, { sourcePort: firstPort + i })).counters;
  });
  return [counters.filter(([first]) => first === "sessions_created").length, counters.at(-1)![0]!];
}

function assertOthersUnharmed(node: Bench): void {
  const others = [segment(syn, { from: OTHER_ENDPOINT }), ping(1, { from: OTHER_ENDPOINT })];
  for (const frame of others) assert.equal(node.receive(frame).counters[0], "sessions_created");
}

test("an endpoint has so many sessions at a time and no more, and gets new ones when old ones end", () => {
  const node = limited({ sessionsPerEndpoint: 5 });
  assert.deepEqual(flood(node, 8), [5, "drop_limit_sessions"]);
  assertOthersUnharmed(node);
  assert.equal(node.wait(240), 7);
  assert.equal(node.state().endpoints.size, 0);
  assert.deepEqual(flood(node, 8), [5, "drop_limit_sessions"]);
});

test("an endpoint begins a burst of sessions at once, then so many a second, whatever it floods", () => {
  const node = limited({ newSessionsPerSecond: 2, newSessionsBurst: 6 });
  assert.deepEqual(flood(node, 30), [6, "drop_limit_rate"]);
  assertOthersUnharmed(node);
  node.wait(1);
  assert.deepEqual(flood(node, 30, 3000), [2, "drop_limit_rate"]);
  node.wait(10);
  assert.deepEqual(flood(node, 30, 4000), [6, "drop_limit_rate"]);
});

test("what is refused uses up nothing, so a flood that is refused does not keep its endpoint out", () => {
  const node = limited({ newSessionsPerSecond: 1, newSessionsBurst: 2 });
  flood(node, 100);
  node.wait(1);
  assert.deepEqual(flood(node, 1, 3000), [1, "sessions_created"]);
});

test("an endpoint has so many ports at a time; the flows that share a mapping have one", () => {
  const node = limited({ portsPerEndpoint: 2 });
  for (const to of [undefined, OTHER_REMOTE]) {
    for (const destinationPort of [1, 2, 3]) {
      node.receive(datagram({ destinationPort, ...(to === undefined ? {} : { to }) }));
    }
  }
  assert.deepEqual(flood(node, 3), [1, "drop_limit_ports"]);
  assert.deepEqual(node.receive(datagram({ sourcePort: 9 })).counters, ["drop_limit_ports"]);
  assert.deepEqual(node.receive(datagram({ destinationPort: 4 })).counters[0], "sessions_created");
  assertOthersUnharmed(node);
});

test("a port that rests is still its endpoint's", () => {
  const open = { udp: "EndpointIndependent", tcp: "EndpointIndependent" } as const;
  const node = limited({ portsPerEndpoint: 1 }, { mapping: open, filtering: open });
  node.receive(datagram());
  node.wait(300);
  assert.deepEqual(node.receive(datagram({ sourcePort: 9 })).counters, ["drop_limit_ports"]);
  node.wait(120);
  assert.equal(node.receive(datagram({ sourcePort: 9 })).counters[0], "sessions_created");
});

test("a packet that a limit refuses changes nothing", () => {
  const node = limited({ sessionsPerEndpoint: 1, newSessionsPerSecond: 1, newSessionsBurst: 5 });
  flood(node, 1);
  const before = node.state();
  flood(node, 3, 3000);
  assert.equal(node.state(), before);
});
