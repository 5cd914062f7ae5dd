/** The node that a command names. */
import { NattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Store } from "../store/store.ts";

/** Throws `NotFound`. */
export async function getNode(store: Store, name: string): Promise<GatewayNode> {
  const node = await store.get({ kind: "GatewayNode", name });
  if (!node) throw new NattoError("NotFound", `GatewayNode ${name} does not exist; see natto get nodes`);
  return node;
}
