/** The registry of kinds: what each is called, where it lives, who writes it. */
import type { z } from "zod";
import { addressPoolSchema } from "./address-pool.ts";
import { cellSchema } from "./cell.ts";
import { epochSchema } from "./epoch.ts";
import { eventSchema } from "./event.ts";
import { floatingAddressSchema } from "./floating-address.ts";
import { gatewayNodeSchema } from "./gateway-node.ts";
import { leadershipSchema } from "./leadership.ts";
import { leaseSchema } from "./lease.ts";
import { natGatewaySchema } from "./nat-gateway.ts";
import { nodeConfigSchema } from "./node-config.ts";
import { placementSchema } from "./placement.ts";
import { portForwardSchema } from "./port-forward.ts";
import { rolloutSchema } from "./rollout.ts";

const KIND_TABLE = {
  Cell: { plural: "cells", short: [], namespaced: false, system: false, schema: cellSchema },
  GatewayNode: {
    plural: "gatewaynodes",
    short: ["node", "nodes", "gn"],
    namespaced: false,
    system: false,
    schema: gatewayNodeSchema,
  },
  AddressPool: {
    plural: "addresspools",
    short: ["pool", "pools"],
    namespaced: false,
    system: false,
    schema: addressPoolSchema,
  },
  NatGateway: {
    plural: "natgateways",
    short: ["gateway", "gateways", "gw"],
    namespaced: true,
    system: false,
    schema: natGatewaySchema,
  },
  FloatingAddress: {
    plural: "floatingaddresses",
    short: ["float", "floats", "fa"],
    namespaced: true,
    system: false,
    schema: floatingAddressSchema,
  },
  PortForward: {
    plural: "portforwards",
    short: ["forward", "forwards", "pf"],
    namespaced: true,
    system: false,
    schema: portForwardSchema,
  },
  Placement: { plural: "placements", short: ["pl"], namespaced: true, system: true, schema: placementSchema },
  NodeConfig: {
    plural: "nodeconfigs",
    short: ["nc"],
    namespaced: false,
    system: true,
    schema: nodeConfigSchema,
  },
  Rollout: { plural: "rollouts", short: [], namespaced: false, system: true, schema: rolloutSchema },
  Lease: { plural: "leases", short: [], namespaced: false, system: true, schema: leaseSchema },
  Leadership: {
    plural: "leaderships",
    short: ["leader"],
    namespaced: false,
    system: true,
    schema: leadershipSchema,
  },
  Epoch: { plural: "epochs", short: [], namespaced: false, system: true, schema: epochSchema },
  Event: { plural: "events", short: ["ev"], namespaced: true, system: true, schema: eventSchema },
} as const;

export type Kind = keyof typeof KIND_TABLE;

/** Kind → the type of its objects. */
export type ObjectOf<K extends Kind> = z.output<(typeof KIND_TABLE)[K]["schema"]>;
export type AnyObject = { [K in Kind]: ObjectOf<K> }[Kind];

export interface KindInfo<K extends Kind = Kind> {
  readonly kind: K;
  /** Lower-case plural, as it stands in URLs. */
  readonly plural: string;
  /** Other words that the CLI takes for it, besides the kind and the plural in any case. */
  readonly short: readonly string[];
  readonly namespaced: boolean;
  /** Written by Natto itself, not by people. */
  readonly system: boolean;
  readonly schema: z.ZodType<ObjectOf<K>>;
}

export const KINDS = Object.keys(KIND_TABLE) as readonly Kind[];

export function kindInfo<K extends Kind>(kind: K): KindInfo<K> {
  const row = KIND_TABLE[kind];
  return { kind, ...row, schema: row.schema as unknown as z.ZodType<ObjectOf<K>> };
}

export function isKind(text: unknown): text is Kind {
  return typeof text === "string" && Object.hasOwn(KIND_TABLE, text);
}

/** Finds a kind by its name, plural or short name in any case; undefined when there is none. */
export function findKind(word: string): Kind | undefined {
  const lower = word.toLowerCase();
  return KINDS.find((kind) => {
    const { plural, short } = KIND_TABLE[kind];
    return kind.toLowerCase() === lower || plural === lower || (short as readonly string[]).includes(lower);
  });
}
