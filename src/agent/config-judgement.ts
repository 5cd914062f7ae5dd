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
  /** Why the last news was doubted, if it was. */
  readonly doubted: DoubtReason | undefined;
}

/**
 * Annotation of a NodeConfig: an operator says that what the store declares is what is meant, although it has less than the node. The value is
 * `acceptance`; it holds for this object from this generation on.
 */
export const ACCEPTED = "natto.dev/accepted";

export function acceptance({ metadata: { uid, generation } }: NodeConfig): string {
  return `${uid} ${generation}`;
}

export type DoubtReason = "Deleted" | "Emptied" | "RolledBack" | "OtherCell" | "Invalid";

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
 * - one that lacks a gateway that the node has, when it was made anew (another uid) or is of an older generation: then the store may have been
 *   lost, or be as it was earlier;
 * - one that has less than half of the gateways that the node has. It is obeyed all the same when the node had a single
 *   gateway, or none of those that are gone is declared any more: then people deleted them. Those that a rollout
 *   withholds from this node count as not declared: a store that has lost something does not say so.
 * One of the past that an operator has accepted (`ACCEPTED`) is obeyed once it has all gateways that are declared, also those that a
 * rollout withholds for now.
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

function judgeLoss(config: NodeConfig, context: JudgementContext): Verdict {
  const { node, held, declared } = context;
  if (!held) return { verdict: "obey" };
  const had = held.spec.gateways.length;
  const has = config.spec.gateways.length;
  const kept = new Set(config.spec.gateways.map((g) => gatewayKey(g.namespace, g.name)));
  const lost = held.spec.gateways.map((g) => gatewayKey(g.namespace, g.name)).filter((key) => !kept.has(key));
  const past = lost.length === 0 ? undefined : signOfThePast(config, held, context);
  const accepted = isAccepted(config);
  if (past !== undefined && !accepted) {
    return doubt(
      "RolledBack",
      `NodeConfig ${node} ${past}, and lacks ${lost.length} of the ${had} gateways of this node (${lost[0]})`,
    );
  }
  if (past === undefined && (has * 2 >= had || had === 1)) return { verdict: "obey" };
  if (!declared) return { verdict: "ask" };
  const withheld = new Set(config.spec.withheld);
  const stillDeclared = lost.filter((key) => declared.has(key));
  if (past !== undefined && stillDeclared.length > 0) {
    return doubt(
      "RolledBack",
      `NodeConfig ${node} ${past} and was accepted, but lacks ${stillDeclared.length} gateways that are declared (${stillDeclared[0]})`,
    );
  }
  const missed = stillDeclared.filter((key) => !withheld.has(key));
  if (missed.length === 0) return { verdict: "obey" };
  return doubt(
    "Emptied",
    `NodeConfig ${node} lost ${lost.length} of ${had} gateways at once, of which ${missed.length} are still declared (${missed[0]})`,
  );
}

function isAccepted({ metadata }: NodeConfig): boolean {
  const [uid, generation] = (metadata.annotations[ACCEPTED] ?? "").split(" ");
  return uid === metadata.uid && metadata.generation >= Number(generation);
}

/**
 * Why the store may be another one than before, or as it was earlier. The controller goes on counting from there, so the doubt stays
 * when the generation that is held is passed.
 */
function signOfThePast(
  config: NodeConfig,
  held: NodeConfig,
  { doubted }: JudgementContext,
): string | undefined {
  const { uid, generation } = config.metadata;
  if (uid !== held.metadata.uid) return "was made anew";
  if (generation < held.metadata.generation) {
    return `is of generation ${generation}, older than ${held.metadata.generation} that this node has`;
  }
  return doubted === "RolledBack" ? "had gone back to an older generation" : undefined;
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
  RolledBack:
    "look whether the store lost its data, and restore it (natto import); if what it declares is what is meant, natto accept NODE",
  OtherCell: "give the agent the right --cell, or correct the GatewayNode",
  Invalid: "look at the log of the controller, and upgrade the agent if it is older",
};
