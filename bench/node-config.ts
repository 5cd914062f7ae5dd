/** Configurations for benches of the dataplane: this node, one peer, and so many gateways of so many addresses. */

import { DEFAULT_ALLOCATION } from "../src/model/allocation.ts";
import { formatAddress } from "../src/model/ipv4.ts";
import { DEFAULT_BEHAVIOUR, type NatBehaviour, NO_LIMITS } from "../src/model/nat-behaviour.ts";
import type { GatewayConfig, NodeConfig } from "../src/model/node-config.ts";
import { NOBODY } from "../src/model/placement.ts";
import { slotsPerAddress } from "../src/model/slots.ts";

export interface Shape {
  readonly gateways: number;
  readonly addressesEach: number;
  readonly portsPerSlot: number;
  /** Whether this node owns all slots, or every other one. */
  readonly ownsAll: boolean;
  /** Of each endpoint; none unless given. */
  readonly limits?: NatBehaviour["limits"];
}

function gateway(index: number, shape: Shape): GatewayConfig {
  const slots = slotsPerAddress(shape.portsPerSlot);
  const owners = Array.from({ length: slots }, (_, slot) => (shape.ownsAll ? 0 : slot % 2));
  const first = 0xcb007100 + index * shape.addressesEach; // 203.0.113.0
  return {
    namespace: "bench",
    name: `gateway-${index}`,
    uid: String(index),
    sources: [`${formatAddress(0x0a000000 + index * 65536)}/16`],
    portsPerSlot: shape.portsPerSlot,
    allocation: DEFAULT_ALLOCATION,
    log: "None",
    behaviour: { ...DEFAULT_BEHAVIOUR, limits: shape.limits ?? NO_LIMITS },
    nodes: ["a", "b"],
    addresses: Array.from({ length: shape.addressesEach }, (_, i) => ({
      address: formatAddress(first + i),
      owners,
      // A node that begins asks the backup of each slot for flows that it does not know; here nobody would answer.
      backups: owners.map((owner) => (shape.ownsAll ? NOBODY : 1 - owner)),
    })),
  };
}

export function benchConfig(shape: Shape): NodeConfig["spec"] {
  return {
    cell: "bench",
    node: { address: "10.255.0.1", interfaces: { inside: "inside", outside: "outside" } },
    vxlan: { port: 4789 },
    peers: [{ name: "b", address: "10.255.0.2" }],
    gateways: Array.from({ length: shape.gateways }, (_, i) => gateway(i, shape)),
  };
}
