/** What is known of a cell's rollout, as facts, and what people may declare about it. Pure. */
import { NattoError } from "../errors.ts";
import type { Cell } from "../model/cell.ts";
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

type RolloutSettings = Cell["spec"]["rollout"];

/** What is declared to end a pause, and to try again what was set aside. */
export function resumed(settings: RolloutSettings, rollout: Rollout | undefined) {
  const { undo: _, ...rest } = settings;
  const again = rollout !== undefined && rollout.spec.rejected.length > 0;
  return {
    settings: { ...rest, paused: false, ...(again ? { retry: rollout.spec.number } : {}) },
    said: again ? `goes on; what was set aside is tried again` : "goes on",
  };
}

/** What is declared to take back the latest rollout. Throws `BadRequest` when there is none that could be. */
export function undone(settings: RolloutSettings, rollout: Rollout | undefined) {
  const { number = 0, stage } = rollout?.spec ?? {};
  if (!stage || (stage.phase === "settled" && !stage.previous)) {
    throw new NattoError(
      "BadRequest",
      "there is no rollout that could be undone: none is under way, and before the last one there was nothing else; apply the earlier files again",
    );
  }
  return { settings: { ...settings, undo: number }, said: `is taken back (rollout ${number})` };
}
