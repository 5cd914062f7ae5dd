/** What happens to this node and to the peers that it watches, as events. */
import { conditionEvents } from "../events/condition-events.ts";
import type { EventRecorder } from "../events/recorder.ts";
import type { ObjectReference } from "../model/event.ts";
import type { Condition } from "../model/meta.ts";
import type { View } from "./peer-liveness.ts";
import { type Drift, describeRepairs } from "./reconciler.ts";

/** So many peers tell of what becomes of a node. */
const WITNESSES = 2;

/**
 * Whether this node is one of those that tell of a peer: the first that forward after it in the order of names, beginning anew at the end. Else
 * a cell of a thousand nodes would tell of one loss a thousand times. Pure.
 */
export function isWitness(node: string, peer: string, alive: readonly string[]): boolean {
  const ring = [...new Set([...alive, node])].filter((name) => name !== peer).sort();
  const after = ring.findIndex((name) => name > peer);
  const start = Math.max(0, after);
  return [...ring.slice(start), ...ring.slice(0, start)].slice(0, WITNESSES).includes(node);
}

export interface NodeEvents {
  started(version: string, fresh: boolean): void;
  stopped(): void;
  /** The node's conditions as they are stored and as they are now. */
  conditions(stored: readonly Condition[], now: readonly Condition[]): void;
  drift(drift: Drift | undefined): void;
  /** A peer is seen in another way; `alive`: those whose dataplane answers. */
  peer(peer: string, view: View, alive: readonly string[]): void;
}

export function makeNodeEvents(node: string, { record }: Pick<EventRecorder, "record">): NodeEvents {
  const self: ObjectReference = { kind: "GatewayNode", name: node };
  let known: readonly Condition[] | undefined;
  let mended: Drift | undefined;
  const silent = new Set<string>();
  return {
    started(version, fresh) {
      const how = fresh ? "programs this machine anew" : "goes on with what the dataplane runs";
      record({ regarding: self, type: "Normal", reason: "AgentStarted", note: `version ${version} ${how}` });
    },
    stopped() {
      const note = "the node goes on forwarding as it is";
      record({ regarding: self, type: "Normal", reason: "AgentStopped", note });
    },
    conditions(stored, now) {
      record(...conditionEvents(self, known ?? stored, now));
      known = now;
    },
    drift(drift) {
      if (drift === undefined || drift === mended) return;
      mended = drift;
      const note = `changed behind the agent's back and mended: ${describeRepairs(drift.repairs)}`;
      record({ regarding: self, type: "Warning", reason: "Repaired", note });
    },
    peer(peer, view, alive) {
      const wasSilent = silent.delete(peer);
      if (view === "dead") silent.add(peer);
      if (!isWitness(node, peer, alive)) return;
      const regarding = { kind: "GatewayNode", name: peer };
      if (view === "alive" && wasSilent) {
        const note = `its dataplane answers the probes of ${node} again`;
        record({ regarding, type: "Normal", reason: "PeerAnswers", note });
      } else if (view === "dead") {
        const note = `its dataplane does not answer the probes of ${node}: those next in line act for its slots`;
        record({ regarding, type: "Warning", reason: "PeerSilent", note });
      }
    },
  };
}
