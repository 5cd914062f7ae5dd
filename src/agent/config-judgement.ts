/**
 * Whether news about this node's configuration is obeyed or doubted. Pure. A node fails static: what looks like the loss of a
 * store or the fault of a controller must not stop the traffic, so the last good configuration stands until better news comes.
 */
import { describeError, NattoError } from "../errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { checkNodeConfig } from "./node-config-check.ts";

/** What the store says now about the NodeConfig of this node. */
export type ConfigNews =
  | { readonly kind: "missing" }
  | { readonly kind: "present"; readonly config: NodeConfig }
  /** It does not follow the schema that this version of Natto knows. */
  | { readonly kind: "unknown"; readonly fault: string };

export interface JudgementContext {
  readonly node: string;
  readonly cell: string;
  /** What the node runs now; undefined when it never had any. */
  readonly held: NodeConfig | undefined;
  /** The NatGateways of the cell that the store holds, by `gatewayKey`; undefined when it was not asked. */
  readonly declared: ReadonlySet<string> | undefined;
}

export type DoubtReason = "Deleted" | "Emptied" | "OtherCell" | "Invalid";

export type Verdict =
  | { readonly verdict: "obey" }
  /** Nothing to obey and nothing to doubt: this node never had a configuration. */
  | { readonly verdict: "wait" }
  /** Judge again with `declared`. */
  | { readonly verdict: "ask" }
  | { readonly verdict: "doubt"; readonly reason: DoubtReason; readonly message: string };

/**
 * Judges the news. Doubted are:
 * - a NodeConfig that is gone although the node had one;
 * - one of another cell, or one that contradicts itself;
 * - one that has less than half of the gateways that the node has. It is obeyed all the same when it is the same object (uid) and
 *   either the node had a single gateway, or none of those that are gone is declared any more: then people deleted them. Those that a rollout
 *   withholds from this node count as not declared: a store that has lost something does not say so.
 */
export function judgeConfig(news: ConfigNews, context: JudgementContext): Verdict {
  const { held, node, cell } = context;
  if (news.kind === "missing") {
    return held ? doubt("Deleted", `NodeConfig ${node} is gone from the store`) : { verdict: "wait" };
  }
  if (news.kind === "unknown") return doubt("Invalid", news.fault);
  const { config } = news;
  if (config.spec.cell !== cell) {
    return doubt(
      "OtherCell",
      `NodeConfig ${node} is of cell ${config.spec.cell}, and this node is of ${cell}`,
    );
  }
  const faults = checkNodeConfig(config, node);
  if (faults.length > 0) {
    const error = new NattoError("Invalid", `NodeConfig ${node} contradicts itself`, faults.slice(0, 3));
    return doubt("Invalid", describeError(error));
  }
  return judgeLoss(config, context);
}

/** `namespace/name` */
export function gatewayKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

function judgeLoss(config: NodeConfig, { node, held, declared }: JudgementContext): Verdict {
  const had = held?.spec.gateways.length ?? 0;
  const has = config.spec.gateways.length;
  if (!held || has * 2 >= had) return { verdict: "obey" };
  if (config.metadata.uid !== held.metadata.uid) {
    return doubt("Emptied", `NodeConfig ${node} was made anew with ${has} gateways; this node has ${had}`);
  }
  if (had === 1) return { verdict: "obey" };
  if (!declared) return { verdict: "ask" };
  const kept = new Set(config.spec.gateways.map((g) => gatewayKey(g.namespace, g.name)));
  const lost = held.spec.gateways.map((g) => gatewayKey(g.namespace, g.name)).filter((key) => !kept.has(key));
  const withheld = new Set(config.spec.withheld);
  const stillDeclared = lost.filter((key) => declared.has(key) && !withheld.has(key));
  if (stillDeclared.length === 0) return { verdict: "obey" };
  return doubt(
    "Emptied",
    `NodeConfig ${node} lost ${lost.length} of ${had} gateways at once, of which ${stillDeclared.length} are still declared (${stillDeclared[0]})`,
  );
}

function doubt(reason: DoubtReason, found: string): Verdict {
  const stands = "the last good configuration stands";
  const message = `${found}; ${stands}; ${REMEDIES[reason]}`;
  return { verdict: "doubt", reason, message };
}

const START_ANEW = "stop the agent, delete its snapshot in the state folder and start it";
const REMEDIES: Readonly<Record<DoubtReason, string>> = {
  Deleted:
    "look whether the store lost its data; to retire the node, stop the agent and run natto agent --cleanup",
  Emptied: `look whether the store lost its data; if it is meant, ${START_ANEW}`,
  OtherCell: "give the agent the right --cell, or correct the GatewayNode",
  Invalid: "look at the log of the controller, and upgrade the agent if it is older",
};
