/**
 * Policy: what nodes do for their gateways, without who owns which slot. A rollout changes the policy of some nodes before others; the slots are the
 * same for all of them at all times. Pure.
 */
import { createHash } from "node:crypto";
import {
  type GatewayConfig,
  type GatewayPolicy,
  gatewayPolicy,
  type NodeConfig,
} from "../model/node-config.ts";
import type { Policy } from "../model/rollout.ts";

type NodeConfigSpec = NodeConfig["spec"];

/** What is known of objects that are never changed in place: large, and looked at in every round. */
const texts = new WeakMap<GatewayPolicy | GatewayConfig, string>();
const policies = new WeakMap<readonly GatewayConfig[], Policy>();
const tables = new WeakMap<Policy, ReadonlyMap<string, GatewayPolicy>>();
const mixtures = new WeakMap<readonly GatewayConfig[], Map<string, Mixture>>();
const specs = new WeakMap<NodeConfigSpec, Map<string, NodeConfigSpec>>();

/** The policy of a cell whose nodes have these gateways. */
export function policyOf(gateways: readonly GatewayConfig[]): Policy {
  const known = policies.get(gateways) ?? makePolicy(gateways.map(gatewayPolicy));
  policies.set(gateways, known);
  return known;
}

function makePolicy(gateways: GatewayPolicy[]): Policy {
  const hash = createHash("sha256");
  for (const gateway of gateways) hash.update(`${policyText(gateway)}\n`);
  return { digest: hash.digest("hex").slice(0, 16), gateways };
}

/** The gateways of `wanted` that `good` does not have, or not like this. */
export function changedGateways(wanted: Policy, good: Policy): readonly GatewayPolicy[] {
  if (wanted.digest === good.digest) return [];
  return wanted.gateways.filter((gateway) => !hasSame(good, gateway));
}

/** Whether the policy has the gateway exactly like this. */
export function hasSame(policy: Policy, gateway: GatewayPolicy | GatewayConfig): boolean {
  const own = findGateway(policy, gateway);
  return own !== undefined && samePolicy(own, gateway);
}

/** What is planned, but with what is good in the place of what is rejected. */
export function setAside(planned: Policy, rejected: readonly GatewayPolicy[], good: Policy): Policy {
  if (rejected.length === 0) return planned;
  const isRejected = (gateway: GatewayPolicy): boolean => rejected.some((r) => isVersionOf(r, gateway));
  return makePolicy(
    planned.gateways.flatMap((gateway) => {
      if (!isRejected(gateway)) return [gateway];
      const instead = findGateway(good, gateway);
      return instead ? [instead] : [];
    }),
  );
}

/** Those of the rejected gateways that are still planned as they were rejected. */
export function stillPlanned(rejected: readonly GatewayPolicy[], planned: Policy): GatewayPolicy[] {
  return rejected.filter((gateway) => hasSame(planned, gateway));
}

function isVersionOf(a: GatewayPolicy, b: GatewayPolicy): boolean {
  return identity(a) === identity(b) && samePolicy(a, b);
}

/** The gateway of the policy that is the same object as this one; undefined when it has none. */
export function findGateway(
  policy: Policy,
  gateway: GatewayPolicy | GatewayConfig,
): GatewayPolicy | undefined {
  const table = tables.get(policy) ?? new Map(policy.gateways.map((g) => [identity(g), g]));
  tables.set(policy, table);
  return table.get(identity(gateway));
}

/** Whether the policy is the same for both; the slots may differ. */
function samePolicy(a: GatewayPolicy | GatewayConfig, b: GatewayPolicy | GatewayConfig): boolean {
  return policyText(a) === policyText(b);
}

/** Whether any of these gateways is in the policy: whether there is anything in operation. */
export function servesAny(policy: Policy, gateways: readonly GatewayConfig[]): boolean {
  return gateways.some((gateway) => findGateway(policy, gateway) !== undefined);
}

/**
 * The configuration of a node that follows this policy, with the slots as they are planned. Gateways that are planned no more are left out, since their
 * slots may be somebody else's now; those that the policy does not know are withheld. Returns `planned` itself when it follows the policy.
 */
export function withPolicy(planned: NodeConfigSpec, policy: Policy): NodeConfigSpec {
  return remember(specs, planned, policy.digest, () => {
    const { gateways, withheld, same } = mix(planned.gateways, policy);
    return same ? planned : { ...planned, gateways, ...(withheld.length > 0 ? { withheld } : {}) };
  });
}

interface Mixture {
  readonly gateways: GatewayConfig[];
  readonly withheld: string[];
  readonly same: boolean;
}

/** The nodes of a cell share the list of gateways, so it is mixed once for all of them. */
function mix(planned: readonly GatewayConfig[], policy: Policy): Mixture {
  return remember(mixtures, planned, policy.digest, () => {
    const gateways: GatewayConfig[] = [];
    const withheld: string[] = [];
    for (const gateway of planned) {
      const own = findGateway(policy, gateway);
      if (!own) withheld.push(`${gateway.namespace}/${gateway.name}`);
      else gateways.push(samePolicy(own, gateway) ? gateway : { ...gateway, ...own });
    }
    const same = withheld.length === 0 && gateways.every((gateway, i) => gateway === planned[i]);
    return { gateways, withheld, same };
  });
}

/** What was made of a thing that was planned for a policy, for as long as the plan stands. */
function remember<K extends object, V>(
  known: WeakMap<K, Map<string, V>>,
  thing: K,
  digest: string,
  make: () => V,
): V {
  const values = known.get(thing) ?? new Map<string, V>();
  known.set(thing, values);
  const value = values.get(digest) ?? make();
  values.set(digest, value);
  return value;
}

function policyText(gateway: GatewayPolicy | GatewayConfig): string {
  const known = texts.get(gateway);
  if (known !== undefined) return known;
  const text = JSON.stringify("addresses" in gateway ? gatewayPolicy(gateway) : gateway, inOrder);
  texts.set(gateway, text);
  return text;
}

/** What was stored and read again may have its fields in another order. */
function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function identity({ namespace, name, uid }: GatewayPolicy): string {
  return `${namespace}/${name} ${uid}`;
}
