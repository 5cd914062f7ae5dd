/** What has to be written so that the store says what was planned: the difference between a plan and what is stored. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { Members } from "../membership/membership.ts";
import type { AddressPool } from "../model/address-pool.ts";
import type { Cell } from "../model/cell.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { AnyObject } from "../model/kinds.ts";
import type { Lease } from "../model/lease.ts";
import { API_VERSION, conditionsHold, type Metadata, mergeConditions } from "../model/meta.ts";
import type { NatGateway } from "../model/nat-gateway.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Placement } from "../model/placement.ts";
import type { PortForward } from "../model/port-forward.ts";
import type { Rollout, RolloutSpec } from "../model/rollout.ts";
import { keyOfObject } from "../planner/order.ts";
import type { NodeConfigSpec, Plan } from "../planner/plan.ts";
import type { GatewayStatus } from "../planner/statuses.ts";
import type { ObjectKey } from "../store/store.ts";

/** What is stored, as the controller sees it. */
export interface Stored {
  readonly cells: readonly Cell[];
  readonly nodes: readonly GatewayNode[];
  readonly pools: readonly AddressPool[];
  readonly gateways: readonly NatGateway[];
  readonly floats: readonly FloatingAddress[];
  readonly forwards: readonly PortForward[];
  readonly placements: readonly Placement[];
  readonly nodeConfigs: readonly NodeConfig[];
  readonly rollouts: readonly Rollout[];
  readonly leases: readonly Lease[];
}

/** All but creations depend on the object's being as it was seen. */
export type Write =
  | { readonly action: "create" | "update" | "updateStatus"; readonly draft: AnyObject }
  | {
      readonly action: "delete";
      readonly key: ObjectKey;
      readonly resourceVersion: string;
      /** Whose object it is, if that has been seen to be gone: it is looked up once more before the deletion. */
      readonly orphanOf: ObjectKey | undefined;
    };

/** In this order: a configuration never speaks of a placement, or follows from a step of a rollout, that is not stored. */
export interface Writes {
  /** Statuses of floating addresses and forwards too: they remember which address each was given. */
  readonly placements: readonly Write[];
  readonly rollouts: readonly Write[];
  readonly nodeConfigs: readonly Write[];
  readonly statuses: readonly Write[];
  /** Heartbeats of nodes that are no more. */
  readonly leases: readonly Write[];
}

/** Whether a stored configuration says what was planned; a cheaper function than deep comparison may stand in for it. */
export type SameConfig = (stored: NodeConfig, planned: NodeConfigSpec) => boolean;

/** `now` is RFC 3339: the time of conditions that change. */
export function writesFor(
  plan: Plan,
  stored: Stored,
  members: Members,
  now: string,
  sameConfig: SameConfig = (config, planned) => isDeepStrictEqual(config.spec, planned),
  rollouts: ReadonlyMap<string, RolloutSpec> = new Map(),
): Writes {
  return {
    placements: [...placementWrites(plan, stored), ...staticWrites(plan, stored, now)],
    rollouts: rolloutWrites(rollouts, stored),
    nodeConfigs: nodeConfigWrites(plan, stored, sameConfig),
    statuses: statusWrites(plan, stored, now),
    leases: leaseWrites(stored, members),
  };
}

function placementWrites(plan: Plan, stored: Stored): Write[] {
  const known = new Map(stored.placements.map((placement) => [keyOfObject(placement), placement]));
  const declared = new Set(stored.gateways.map(keyOfObject));
  const writes: Write[] = [];
  for (const [key, spec] of plan.placements) {
    const existing = known.get(key);
    if (!existing) {
      const [namespace = "", name = ""] = key.split("/");
      const metadata = newMetadata(name, namespace);
      writes.push({
        action: "create",
        draft: { apiVersion: API_VERSION, kind: "Placement", metadata, spec },
      });
    } else if (existing.spec !== spec && !isDeepStrictEqual(existing.spec, spec)) {
      writes.push({ action: "update", draft: { ...existing, spec } });
    }
  }
  for (const [key, placement] of known) {
    if (plan.placements.has(key)) continue;
    const { namespace, name } = placement.metadata;
    writes.push(deletion(placement, declared.has(key) ? undefined : { kind: "NatGateway", namespace, name }));
  }
  return writes;
}

function staticWrites(plan: Plan, stored: Stored, now: string): Write[] {
  const planned = { FloatingAddress: plan.floats, PortForward: plan.forwards };
  return [...stored.floats, ...stored.forwards].flatMap((object): Write[] => {
    const found = planned[object.kind].get(keyOfObject(object));
    if (!found) return [];
    const { observedGeneration, address } = found;
    const conditions = mergeConditions(object.status?.conditions ?? [], found.conditions, now);
    const status = { observedGeneration, ...(address === undefined ? {} : { address }), conditions };
    return isDeepStrictEqual(object.status, status)
      ? []
      : [{ action: "updateStatus", draft: { ...object, status } }];
  });
}

function rolloutWrites(rollouts: ReadonlyMap<string, RolloutSpec>, stored: Stored): Write[] {
  const known = new Map(stored.rollouts.map((rollout) => [rollout.metadata.name, rollout]));
  const declared = new Set(stored.cells.map((cell) => cell.metadata.name));
  const writes: Write[] = [];
  for (const [name, spec] of rollouts) {
    const existing = known.get(name);
    if (!existing) {
      const draft = { apiVersion: API_VERSION, kind: "Rollout", metadata: newMetadata(name), spec } as const;
      writes.push({ action: "create", draft });
    } else if (existing.spec !== spec) writes.push({ action: "update", draft: { ...existing, spec } });
  }
  for (const [name, rollout] of known) {
    if (!declared.has(name)) writes.push(deletion(rollout, { kind: "Cell", name }));
  }
  return writes;
}

function nodeConfigWrites(plan: Plan, stored: Stored, sameConfig: SameConfig): Write[] {
  const known = new Map(stored.nodeConfigs.map((config) => [config.metadata.name, config]));
  const declared = new Set(stored.nodes.map((node) => node.metadata.name));
  const writes: Write[] = [];
  for (const [name, spec] of plan.nodeConfigs) {
    const existing = known.get(name);
    if (!existing) {
      const metadata = newMetadata(name);
      writes.push({
        action: "create",
        draft: { apiVersion: API_VERSION, kind: "NodeConfig", metadata, spec },
      });
    } else if (!sameConfig(existing, spec)) writes.push({ action: "update", draft: { ...existing, spec } });
  }
  for (const [name, config] of known) {
    if (plan.nodeConfigs.has(name) || plan.untouched.has(name)) continue;
    writes.push(deletion(config, declared.has(name) ? undefined : { kind: "GatewayNode", name }));
  }
  return writes;
}

function leaseWrites(stored: Stored, members: Members): Write[] {
  const declared = new Set(stored.nodes.map((node) => node.metadata.name));
  return stored.leases
    .filter(({ metadata: { name } }) => !declared.has(name) && members.get(name) !== "alive")
    .map((lease) => deletion(lease, { kind: "GatewayNode", name: lease.metadata.name }));
}

function statusWrites(plan: Plan, stored: Stored, now: string): Write[] {
  const writes: Write[] = [];
  const write = (before: AnyObject, draft: AnyObject): void => {
    if (!isDeepStrictEqual(before.status, draft.status)) writes.push({ action: "updateStatus", draft });
  };
  for (const gateway of stored.gateways) {
    const planned = plan.gateways.get(keyOfObject(gateway));
    if (!planned || isGatewayTold(gateway.status, planned)) continue;
    const conditions = mergeConditions(gateway.status?.conditions ?? [], planned.conditions, now);
    const { addresses, owners, observedGeneration } = planned;
    const status = { observedGeneration, addresses: [...addresses], owners: { ...owners }, conditions };
    write(gateway, { ...gateway, status });
  }
  for (const pool of stored.pools) {
    const planned = plan.pools.get(pool.metadata.name);
    if (!planned) continue;
    const conditions = mergeConditions(pool.status?.conditions ?? [], planned.conditions, now);
    write(pool, { ...pool, status: { ...planned, conditions } });
  }
  for (const cell of stored.cells) {
    const planned = plan.cells.get(cell.metadata.name);
    if (!planned) continue;
    const conditions = mergeConditions(cell.status?.conditions ?? [], planned.conditions, now);
    write(cell, { ...cell, status: { ...planned, conditions } });
  }
  for (const node of stored.nodes) {
    const verdict = plan.nodes.get(node.metadata.name);
    if (!verdict || (node.status && conditionsHold(node.status.conditions, [verdict]))) continue;
    const status = node.status ?? { observedGeneration: 0, counters: {}, conditions: [] };
    write(node, {
      ...node,
      status: { ...status, conditions: mergeConditions(status.conditions, [verdict], now) },
    });
  }
  return writes;
}

/** Whether a gateway's status says already what was planned. Nearly all do, in a cloud of ten thousand, whenever one has changed. */
function isGatewayTold(status: NatGateway["status"], planned: GatewayStatus): boolean {
  return (
    status !== undefined &&
    status.observedGeneration === planned.observedGeneration &&
    status.addresses.length === planned.addresses.length &&
    status.addresses.every((address, i) => address === planned.addresses[i]) &&
    sameCounts(status.owners, planned.owners) &&
    conditionsHold(status.conditions, planned.conditions)
  );
}

function sameCounts(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

function deletion(object: Placement | NodeConfig | Rollout | Lease, orphanOf: ObjectKey | undefined): Write {
  const { namespace, name, resourceVersion } = object.metadata;
  return { action: "delete", key: { kind: object.kind, namespace, name }, resourceVersion, orphanOf };
}

function newMetadata(name: string, namespace?: string): Metadata {
  return {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    labels: {},
    annotations: {},
    uid: "",
    resourceVersion: "",
    generation: 0,
    creationTimestamp: "",
  };
}
