/**
 * The agent's own GatewayNode: it sets what it knows (cell, address, interfaces, the labels it was given) and leaves alone what the
 * operator sets (drain, weight, other labels, annotations).
 */
import { NattoError } from "../errors.ts";
import { type GatewayNode, gatewayNodeSchema } from "../model/gateway-node.ts";
import { API_VERSION } from "../model/meta.ts";
import { checkSchema } from "../model/validate.ts";
import type { Store } from "../store/store.ts";

/** What an agent knows about its node. */
export interface NodeIdentity {
  readonly node: string;
  readonly cell: string;
  /** At which the other nodes of the cell reach this one. */
  readonly address: string;
  readonly interfaces: { readonly inside: string; readonly outside: string };
  readonly labels: Readonly<Record<string, string>>;
}

export type RegistrationStep =
  | { readonly action: "none"; readonly node: GatewayNode }
  | { readonly action: "create" | "update"; readonly draft: GatewayNode };

/** What is to be written so that the store's GatewayNode says what the agent knows. Pure. Throws `Invalid`. */
export function planRegistration(stored: GatewayNode | undefined, identity: NodeIdentity): RegistrationStep {
  const { node, cell, address, interfaces, labels } = identity;
  if (!stored) {
    const draft = checkSchema(gatewayNodeSchema, {
      apiVersion: API_VERSION,
      kind: "GatewayNode",
      metadata: { name: node, labels },
      spec: { cell, address, interfaces },
    });
    return { action: "create", draft };
  }
  if (saysSo(stored, identity)) return { action: "none", node: stored };
  const { metadata, spec } = stored;
  const draft: GatewayNode = {
    ...stored,
    metadata: { ...metadata, labels: { ...metadata.labels, ...labels } },
    spec: { ...spec, cell, address, interfaces },
  };
  return { action: "update", draft };
}

/** Whether the stored GatewayNode says what the agent knows. */
export function saysSo({ metadata, spec }: GatewayNode, identity: NodeIdentity): boolean {
  return (
    spec.cell === identity.cell &&
    spec.address === identity.address &&
    spec.interfaces.inside === identity.interfaces.inside &&
    spec.interfaces.outside === identity.interfaces.outside &&
    Object.entries(identity.labels).every(([key, value]) => metadata.labels[key] === value)
  );
}

const ATTEMPTS = 5;

/**
 * Creates or corrects the GatewayNode and returns it as stored. Somebody else's write in between is read again, a few times.
 * Throws what the store throws: `Unavailable`, or `Rejected` or `Invalid` when the node may not be as the agent says.
 */
export async function registerNode(store: Store, identity: NodeIdentity): Promise<GatewayNode> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const step = planRegistration(await store.get({ kind: "GatewayNode", name: identity.node }), identity);
    if (step.action === "none") return step.node;
    try {
      return await (step.action === "create"
        ? store.create<"GatewayNode">(step.draft)
        : store.update<"GatewayNode">(step.draft));
    } catch (thrown) {
      if (!wasOvertaken(thrown)) throw thrown;
    }
  }
  throw new NattoError(
    "Unavailable",
    `GatewayNode ${identity.node} was changed by somebody else at each of ${ATTEMPTS} attempts to register; will be tried again`,
  );
}

/** Whether a write failed because somebody else wrote first. */
function wasOvertaken(thrown: unknown): boolean {
  if (!(thrown instanceof NattoError)) return false;
  return thrown.code === "Conflict" || thrown.code === "AlreadyExists" || thrown.code === "NotFound";
}
