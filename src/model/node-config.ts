/**
 * NodeConfig: everything one node must do, complete, under the node's name; the only object an agent needs.
 * All nodes of a cell know the slots of all gateways of the cell, since any of them may receive any packet.
 */
import { z } from "zod";
import { allocationSchema } from "./allocation.ts";
import { addressField, cidrField, interfaceField, nameField, portField } from "./fields.ts";
import { objectSchema } from "./meta.ts";
import { natBehaviourSchema } from "./nat-behaviour.ts";
import { portsPerSlotField } from "./nat-gateway.ts";
import { placedAddressSchema } from "./placement.ts";
import { routingConfigSchema } from "./routing.ts";
import { sessionLoggingField } from "./session-logging.ts";
import { floatingConfigSchema, forwardConfigSchema } from "./static-mappings.ts";

export const gatewayConfigSchema = z.strictObject({
  namespace: nameField,
  name: nameField,
  uid: z.string(),
  sources: z.array(cidrField),
  portsPerSlot: portsPerSlotField,
  allocation: allocationSchema.prefault({ method: "Hashed" }),
  log: sessionLoggingField,
  behaviour: natBehaviourSchema,
  /** Node names that the numbers in `addresses` refer to. Each is this node or one of its `peers`. */
  nodes: z.array(nameField),
  addresses: z.array(placedAddressSchema),
});

export type GatewayConfig = z.output<typeof gatewayConfigSchema>;

/**
 * The fields of a gateway that say which flow belongs to which slot and who owns it. All nodes must agree on them, so they go to all at once; the
 * others are policy, and a rollout brings them to a few nodes first.
 */
const OWNERSHIP_FIELDS = {
  sources: true,
  portsPerSlot: true,
  allocation: true,
  nodes: true,
  addresses: true,
} as const;

export const gatewayPolicySchema = gatewayConfigSchema.omit(OWNERSHIP_FIELDS);

export type GatewayPolicy = z.output<typeof gatewayPolicySchema>;

/** A gateway's configuration without the fields on which all nodes must agree. */
export function gatewayPolicy(gateway: GatewayConfig): GatewayPolicy {
  const { sources, portsPerSlot, allocation, nodes, addresses, ...policy } = gateway;
  return policy;
}

export const nodeConfigSchema = objectSchema(
  "NodeConfig",
  z.strictObject({
    cell: nameField,
    node: z.strictObject({
      address: addressField,
      interfaces: z.strictObject({ inside: interfaceField, outside: interfaceField }),
    }),
    vxlan: z.strictObject({ port: portField }),
    /** All other nodes of the cell, whether they own slots or not. */
    peers: z.array(z.strictObject({ name: nameField, address: addressField })),
    gateways: z.array(gatewayConfigSchema),
    /** Left out: none. Every node of the cell translates them. */
    floatingAddresses: z.array(floatingConfigSchema).optional(),
    portForwards: z.array(forwardConfigSchema).optional(),
    /** What to announce, and to whom; left out: nothing. */
    routing: routingConfigSchema.optional(),
    /** `namespace/name` of gateways that are planned, but that a rollout keeps from this node (still, or again). */
    withheld: z.array(z.string()).optional(),
  }),
  z.strictObject({}),
);

export type NodeConfig = z.output<typeof nodeConfigSchema>;
