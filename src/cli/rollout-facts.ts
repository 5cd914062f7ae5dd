/** What is known of a cell's rollout, as facts. Pure. */
import type { Rollout } from "../model/rollout.ts";
import type { Facts } from "./facts.ts";

export function rolloutFacts({ spec }: Rollout): Facts {
  const { number, stage, rejected, verdict, good, events } = spec;
  const rolling = stage.phase === "rolling" ? stage : undefined;
  return {
    cell: spec.cell,
    rollout: number,
    phase: stage.phase,
    ...(rolling ? { wave: rolling.wave, reached: Object.keys(rolling.released) } : {}),
    gateways: good.gateways.length,
    setAside: rejected.map(({ namespace, name }) => `${namespace}/${name}`),
    ...(verdict ? { because: `rollout ${verdict.rollout}, ${verdict.reason}: ${verdict.message}` } : {}),
    events: events.map(({ at, rollout, reason, message }) => ({ at, rollout, reason, message })),
  };
}
