/** What is said of a rollout in the status of the cell and of its gateways. Pure. */
import type { Condition } from "../model/meta.ts";
import type { GatewayConfig } from "../model/node-config.ts";
import type { Policy, RolloutSpec } from "../model/rollout.ts";
import { findGateway, hasSame } from "./policy.ts";

/** Condition of a gateway whose nodes all do what is declared for it, and of a cell in which this holds for all gateways. */
export const ROLLED_OUT = "RolledOut";

type Verdict = Omit<Condition, "lastTransitionTime">;
type Finding = Pick<Condition, "status" | "reason" | "message">;

const DONE: Finding = { status: "True", reason: "OnAllNodes", message: "" };

/** The policy of a node. */
export function policyOfNode(spec: RolloutSpec, node: string): Policy {
  const { stage, good } = spec;
  return stage.phase === "rolling" && stage.released[node] ? stage.target : good;
}

export function cellVerdict(
  spec: RolloutSpec,
  total: number,
  paused: boolean,
  observedGeneration: number,
): Verdict {
  return { type: ROLLED_OUT, ...findCell(spec, total, paused), observedGeneration };
}

function findCell(spec: RolloutSpec, total: number, paused: boolean): Finding {
  const { stage, verdict, number, cell } = spec;
  if (stage.phase === "rolling") {
    const reached = `rollout ${number}, wave ${stage.wave}: ${Object.keys(stage.released).length} of ${total} nodes`;
    if (!paused) return { status: "False", reason: "RollingOut", message: reached };
    return {
      status: "False",
      reason: "Paused",
      message: `${reached}; go on with natto rollout resume ${cell}`,
    };
  }
  if (verdict)
    return {
      status: "False",
      reason: verdict.reason,
      message: `rollout ${verdict.rollout}: ${verdict.message}`,
    };
  return paused ? { ...DONE, message: "paused: no rollout begins" } : DONE;
}

/** What is said of one gateway, as it is planned. */
export function gatewayVerdict(
  spec: RolloutSpec,
  planned: GatewayConfig,
  total: number,
  observedGeneration: number,
): Verdict {
  return { type: ROLLED_OUT, ...findGatewayState(spec, planned, total), observedGeneration };
}

function findGatewayState(spec: RolloutSpec, planned: GatewayConfig, total: number): Finding {
  const { good, stage, number, verdict, rejected } = spec;
  if (hasSame(good, planned)) return DONE;
  if (stage.phase === "rolling" && hasSame(stage.target, planned)) {
    const reached = Object.keys(stage.released).length;
    if (reached >= total) return DONE;
    return {
      status: "False",
      reason: "RollingOut",
      message: `rollout ${number} has reached ${reached} of ${total} nodes`,
    };
  }
  if (verdict && hasSame({ digest: "", gateways: rejected }, planned)) {
    const instead = findGateway(good, planned) ? "It goes on as it was before" : "It is on no node";
    return {
      status: "False",
      reason: verdict.reason,
      message: `rollout ${verdict.rollout}: ${verdict.message}. ${instead}`,
    };
  }
  return {
    status: "False",
    reason: "Waiting",
    message: "it is part of the next rollout; see natto rollout status",
  };
}

/** Whether nodes that no wave has reached do not know the gateway at all. */
export function isNew(spec: RolloutSpec, planned: GatewayConfig): boolean {
  return findGateway(spec.good, planned) === undefined;
}
