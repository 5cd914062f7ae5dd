/** `natto get --watch`: what there is, then every change, until the process is told to stop. */
import { NattoError } from "../errors.ts";
import type { Kind, ObjectOf } from "../model/kinds.ts";
import { type MirrorChange, openMirror } from "../store/mirror.ts";
import { keyOf, keyText, type Store } from "../store/store.ts";
import { tableRows } from "./columns.ts";
import type { GetOptions } from "./get-command.ts";
import type { Labels } from "./label-selector.ts";
import { fullNameOf, print, say } from "./output.ts";
import { untilStopped } from "./stop-signal.ts";
import { columnWidths, tableLines } from "./table.ts";
import type { Target } from "./targets.ts";

type Change<K extends Kind> = Exclude<MirrorChange<K>, { readonly type: "STATE" }>;

/** Follows the objects of one target. Throws `Unavailable` when the store cannot be reached at the start; later it tries again. */
export async function watchTarget(
  store: Store,
  targets: readonly Target[],
  options: GetOptions,
  matches: (labels: Labels) => boolean,
): Promise<number> {
  const [target, ...more] = targets;
  if (target === undefined || more.length > 0) {
    throw new NattoError("BadRequest", "--watch follows one kind or one object; name only one");
  }
  const { kind, namespace, name } = target;
  await store.list({ kind, namespace, name });
  const show = printer(target, options);
  const shown = new Set<string>();
  const stop = untilStopped();
  const mirror = openMirror(store, { kind, namespace, name });
  mirror.onChange((change) => {
    if (change.type === "STATE") {
      if (mirror.staleSince() !== undefined) say(`natto: ${mirror.lastError()?.message}; trying again`);
      return;
    }
    const visible = visibleChange(change, shown, matches);
    if (visible) show(visible);
  });
  await stop;
  await mirror.close();
  return 0;
}

/** With a selector, an object appears when it begins to match and is gone when it ceases to. */
function visibleChange<K extends Kind>(
  change: Change<K>,
  shown: Set<string>,
  matches: (labels: Labels) => boolean,
): Change<K> | undefined {
  const key = keyText(keyOf(change.object));
  const before = shown.has(key);
  const now = change.type !== "DELETED" && matches(change.object.metadata.labels);
  if (now) shown.add(key);
  else shown.delete(key);
  if (!before && !now) return undefined;
  return { type: now ? (before ? "MODIFIED" : "ADDED") : "DELETED", object: change.object };
}

/** Prints one change: a row of a table, a line of JSON, or a name. */
function printer(target: Target, { output }: GetOptions): (change: Change<Kind>) => void {
  if (output === "json" || output === "yaml") {
    return ({ type, object }) => print(`${JSON.stringify({ type, object })}\n`);
  }
  if (output === "name") return ({ object }) => print(`${fullNameOf(object)}\n`);
  const options = { wide: output === "wide", namespaces: target.namespace === undefined, now: Date.now };
  let widths: readonly number[] | undefined;
  return ({ type, object }) => {
    const [header = [], row = []] = tableRows<Kind>(object.kind, [object as ObjectOf<Kind>], options);
    const rows = [...(widths ? [] : [["EVENT   ", ...header]]), [type, ...row]];
    widths = columnWidths(rows, widths);
    print(`${tableLines(rows, widths).join("\n")}\n`);
  };
}
