/** A value in the store that is no object, as an event. Pure. */
import { describeDamage } from "../store/object-codec.ts";
import type { Damage } from "../store/store.ts";
import type { Occurrence } from "./occurrence.ts";

export function damageEvent(damage: Damage): Occurrence {
  const { kind, namespace, name } = damage.key;
  const regarding = { kind, ...(namespace ? { namespace } : {}), name };
  return { regarding, type: "Warning", reason: "Damaged", note: describeDamage(damage) };
}
