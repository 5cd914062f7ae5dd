/** What the planner says about each object in its status. */
import type { AddressPool } from "../model/address-pool.ts";
import type { Cell } from "../model/cell.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import { GATEWAY_READY, type NatGateway } from "../model/nat-gateway.ts";
import { NOBODY } from "../model/placement.ts";
import { fullPercent, type GatewayUsage, LOW_PERCENT } from "../model/usage.ts";
import type { Grant, PoolUse } from "./addresses.ts";
import type { Admission, Rejection } from "./admission.ts";
import type { PlacementSpec } from "./assignment.ts";
import type { Fleet } from "./fleet.ts";
import { ACCEPTED, type Verdict } from "./order.ts";

/** Condition of a gateway that has as many addresses as it asks for. */
export const ADDRESSES_ALLOCATED = "AddressesAllocated";
/** Condition of a pool that has what its gateways ask for. */
export const POOL_SUFFICIENT = "Sufficient";
/** Condition of a cell in which at least one node may be given slots. */
export const CELL_READY = "Ready";
/** Condition of a cell in which so many nodes vanished at once that the news is not believed. */
export const MEMBERSHIP_DOUBTED = "MembershipDoubted";
/** Condition of a cell whose controller hears who is alive. */
export const MEMBERSHIP_FOLLOWED = "MembershipFollowed";

/** Condition of a gateway of which a slot, or an endpoint's block, is nearly used up on some node. */
export const PORTS_LOW = "PortsLow";
/** Condition of a gateway that refused new flows a moment ago, for want of a free port. */
export const PORTS_EXHAUSTED = "PortsExhausted";

/** What a node reports of a gateway. */
export interface NodeUsage {
  readonly node: string;
  readonly usage: GatewayUsage;
}

export interface GatewayStatus {
  readonly observedGeneration: number;
  readonly addresses: readonly string[];
  readonly owners: Readonly<Record<string, number>>;
  readonly conditions: readonly Verdict[];
}

export interface PoolStatus {
  readonly observedGeneration: number;
  readonly total: number;
  readonly allocated: number;
  readonly conditions: readonly Verdict[];
}

export interface CellStatus {
  readonly observedGeneration: number;
  readonly readyNodes: number;
  readonly totalNodes: number;
  readonly conditions: readonly Verdict[];
}

/** Who owns how many slots of a gateway. */
export interface Ownership {
  readonly owners: Readonly<Record<string, number>>;
  /** Slots that nobody owns. */
  readonly unowned: number;
}

export const NO_OWNERSHIP: Ownership = { owners: {}, unowned: 0 };

export function countOwners(placement: PlacementSpec): Ownership {
  const counts = placement.nodes.map(() => 0);
  let unowned = 0;
  for (const { owners } of placement.addresses) {
    for (const n of owners) {
      if (n === NOBODY) unowned++;
      else counts[n]!++;
    }
  }
  const entries = placement.nodes.map((name, n) => [name, counts[n]!] as const);
  return { owners: Object.fromEntries(entries.filter(([, slots]) => slots > 0)), unowned };
}

export interface GatewayFacts {
  readonly admission: Admission;
  readonly grant: Grant | undefined;
  readonly use: PoolUse | undefined;
  readonly placement: PlacementSpec | undefined;
  readonly ownership: Ownership;
  readonly fleet: Fleet | undefined;
  readonly usage: readonly NodeUsage[];
}

export function gatewayStatus(gateway: NatGateway, facts: GatewayFacts): GatewayStatus {
  const observedGeneration = gateway.metadata.generation;
  const conditions = [
    acceptedCondition(facts.admission, observedGeneration),
    addressesCondition(gateway, facts, observedGeneration),
    readyCondition(facts, observedGeneration),
    ...portsConditions(facts.usage, observedGeneration),
  ];
  const addresses = facts.placement?.addresses.map((placed) => placed.address) ?? [];
  return { observedGeneration, addresses, owners: facts.ownership.owners, conditions };
}

function acceptedCondition(admission: Admission, observedGeneration: number): Verdict {
  if (admission.verdict === "accepted") return accepted(undefined, observedGeneration);
  const kept = admission.verdict === "kept" ? ". Until then it goes on with what it has" : "";
  const { reason, message } = admission;
  return accepted({ reason, message: message + kept }, observedGeneration);
}

function accepted(rejection: Rejection | undefined, observedGeneration: number): Verdict {
  return rejection
    ? { type: ACCEPTED, status: "False", ...rejection, observedGeneration }
    : { type: ACCEPTED, status: "True", reason: "Accepted", message: "", observedGeneration };
}

function addressesCondition(gateway: NatGateway, facts: GatewayFacts, observedGeneration: number): Verdict {
  const type = ADDRESSES_ALLOCATED;
  const { grant, use } = facts;
  const { pool, count } = gateway.spec.addresses;
  if (!grant) return { type, status: "False", reason: "NotAccepted", message: "", observedGeneration };
  if (grant.missing === 0) {
    return { type, status: "True", reason: "Allocated", message: "", observedGeneration };
  }
  const message = use
    ? `has ${count - grant.missing} of ${count} addresses: all ${use.total} of AddressPool ${pool} are taken; add a block to the pool, lower spec.addresses.count, or name another pool`
    : `has ${count - grant.missing} of ${count} addresses: AddressPool ${pool} cannot be used; see condition ${ACCEPTED}`;
  return {
    type,
    status: "False",
    reason: use ? "PoolExhausted" : "PoolUnusable",
    message,
    observedGeneration,
  };
}

/** `namespace/name` of a gateway → what the nodes report of it. */
export function usageByGateway(nodes: readonly GatewayNode[]): ReadonlyMap<string, readonly NodeUsage[]> {
  const found = new Map<string, NodeUsage[]>();
  for (const { metadata, status } of nodes) {
    for (const usage of status?.usage ?? []) {
      const entry = { node: metadata.name, usage };
      const others = found.get(usage.gateway);
      if (others) others.push(entry);
      else found.set(usage.gateway, [entry]);
    }
  }
  return found;
}

/** The numbers in the messages are those of the moment in which the condition was last stated: they are not kept up to date. */
function portsConditions(usage: readonly NodeUsage[], observedGeneration: number): Verdict[] {
  const say = (type: string, holds: boolean, reasons: readonly [string, string], text: string): Verdict => ({
    type,
    status: holds ? "True" : "False",
    reason: reasons[holds ? 0 : 1],
    message: holds ? text : "",
    observedGeneration,
  });
  const remedy =
    "add addresses (spec.addresses.count), larger slots (spec.ports.perSlot) or spread the flows (spec.allocation)";
  const low = usage.filter((u) => fullPercent(u.usage) >= LOW_PERCENT).map(({ node }) => node);
  const refusing = usage.filter((u) => u.usage.refusing).map(({ node }) => node);
  const full = `a slot or block is at least ${LOW_PERCENT} % used toward one remote on ${low.sort().join(", ")}; ${remedy}`;
  const refused = `new flows found no free port on ${refusing.sort().join(", ")}; ${remedy}`;
  return [
    say(PORTS_LOW, low.length > 0, ["NearlyUsedUp", "Enough"], full),
    say(PORTS_EXHAUSTED, refusing.length > 0, ["FlowsRefused", "NoneRefused"], refused),
  ];
}

function readyCondition(facts: GatewayFacts, observedGeneration: number): Verdict {
  const { placement, fleet } = facts;
  const type = GATEWAY_READY;
  const say = (status: Verdict["status"], reason: string, message: string): Verdict => ({
    type,
    status,
    reason,
    message,
    observedGeneration,
  });
  if (!placement) return say("False", "NotAccepted", `see condition ${ACCEPTED}`);
  if (placement.addresses.length === 0)
    return say("False", "NoAddress", `see condition ${ADDRESSES_ALLOCATED}`);
  const { unowned } = facts.ownership;
  if (unowned > 0) {
    return say(
      "False",
      "SlotsWithoutOwner",
      `${unowned} slots have no owner: no node of cell ${placement.cell} may be given slots; start a node, or end the drain of one`,
    );
  }
  if (!fleet || fleet.eligibleCount === 0) {
    return say(
      "Unknown",
      "NoEligibleNode",
      `no node of cell ${placement.cell} is known to work; the slots stay where they were. See the GatewayNodes' conditions`,
    );
  }
  return say("True", "EverySlotOwned", "");
}

export function poolStatus(
  pool: AddressPool,
  rejection: Rejection | undefined,
  use: PoolUse | undefined,
): PoolStatus {
  const observedGeneration = pool.metadata.generation;
  const { total, allocated, missing } = use ?? { total: 0, allocated: 0, missing: 0 };
  const enough: Verdict = {
    type: POOL_SUFFICIENT,
    status: missing === 0 ? "True" : "False",
    reason: missing === 0 ? "Sufficient" : "Exhausted",
    message:
      missing === 0
        ? ""
        : `all ${total} addresses are taken and gateways ask for ${missing} more; add a block to spec.cidrs`,
    observedGeneration,
  };
  return {
    observedGeneration,
    total,
    allocated,
    conditions: [accepted(rejection, observedGeneration), enough],
  };
}

export function cellStatus(
  cell: Cell,
  fleet: Fleet,
  doubted: readonly string[],
  membershipTrouble: string | undefined,
): CellStatus {
  const observedGeneration = cell.metadata.generation;
  const total = fleet.nodes.length;
  const ready: Verdict = {
    type: CELL_READY,
    status: fleet.eligibleCount > 0 ? "True" : "False",
    reason: fleet.eligibleCount > 0 ? "NodesReady" : "NoEligibleNode",
    message:
      fleet.eligibleCount > 0
        ? ""
        : `none of ${total} nodes may be given slots; one can that is alive, reports Ready, is not draining and has a weight above 0`,
    observedGeneration,
  };
  const names = doubted.slice(0, 10).join(", ") + (doubted.length > 10 ? ", …" : "");
  const doubt: Verdict = {
    type: MEMBERSHIP_DOUBTED,
    status: doubted.length > 0 ? "True" : "False",
    reason: doubted.length > 0 ? "MassLoss" : "AsReported",
    message:
      doubted.length > 0
        ? `${doubted.length} of ${total} nodes vanished at once (${names}), more than spec.membership.maxLossPercent allows to believe; they keep their slots. Those that are truly dead are to be named with natto confirm-lost, that is in spec.membership.confirmedLost, drained or deleted`
        : "",
    observedGeneration,
  };
  return {
    observedGeneration,
    readyNodes: fleet.eligibleCount,
    totalNodes: total,
    conditions: [ready, doubt, followedCondition(membershipTrouble, observedGeneration)],
  };
}

function followedCondition(trouble: string | undefined, observedGeneration: number): Verdict {
  return {
    type: MEMBERSHIP_FOLLOWED,
    status: trouble === undefined ? "True" : "False",
    reason: trouble === undefined ? "Followed" : "MayBeOld",
    message: trouble === undefined ? "" : `what is known of the nodes may be old: ${trouble}`,
    observedGeneration,
  };
}

/**
 * The planner's opinion of a node, in a status that the agent writes: undefined when there is nothing to say, so that a
 * node without faults never gets a write from the planner.
 */
export function nodeVerdict(node: GatewayNode, rejection: Rejection | undefined): Verdict | undefined {
  const stated = node.status?.conditions.some((c) => c.type === ACCEPTED);
  return rejection || stated ? accepted(rejection, node.metadata.generation) : undefined;
}
