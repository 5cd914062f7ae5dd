/** `natto events` */
import { Command, Option } from "commander";
import { NattoError } from "../errors.ts";
import { newestFirst } from "../events/retention.ts";
import type { Event } from "../model/event.ts";
import { kindInfo } from "../model/kinds.ts";
import { DEFAULT_NAMESPACE } from "../model/meta.ts";
import { openMirror } from "../store/mirror.ts";
import type { Selection, Store } from "../store/store.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { type EventFilter, eventHeader, eventMatches, eventRow } from "./event-rows.ts";
import { formatDocument, listOf, outputOption, print, say } from "./output.ts";
import { untilStopped } from "./stop-signal.ts";
import { columnWidths, tableLines } from "./table.ts";
import { parseTargets } from "./targets.ts";

const HELP = `
Events lie in the namespace of the object that they regard; those of nodes, cells and pools in "default". They are kept
for an hour after the last time that they happened.

Examples:
  natto events -A
  natto events --for node/node-a
  natto events --for gateway/team-a/web --type Warning
  natto events -A --watch -o json`;

interface EventsOptions {
  readonly for?: string;
  readonly type?: Event["spec"]["type"];
  readonly allNamespaces?: boolean;
  readonly watch?: boolean;
  readonly output: "table" | "wide" | "json" | "yaml";
}

/** Where Events are looked for, and which of those there are shown. */
interface Query {
  readonly selection: Selection<"Event">;
  readonly filter: EventFilter;
}

export function eventsCommand(): Command {
  return withConnection(new Command("events"))
    .description("What happened, to which objects, how often: the latest last.")
    .option("-A, --all-namespaces", "of objects of all namespaces")
    .option("--for <object>", "of one object, KIND/NAME or KIND/NAMESPACE/NAME, or of all of a KIND")
    .addOption(new Option("--type <type>", "only these").choices(["Normal", "Warning"]))
    .option("-w, --watch", "go on and show what happens; with -o json or yaml one JSON object a line")
    .addOption(outputOption(["table", "wide", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (options: EventsOptions, command: Command) => {
      const query = queryOf(options, connectionOf(command).namespace);
      process.exitCode = await withStore(command, (store) =>
        options.watch ? watch(store, query, options) : show(store, query, options),
      );
    });
}

function queryOf(options: EventsOptions, namespace: string | undefined): Query {
  const allNamespaces = options.allNamespaces ?? false;
  if (namespace !== undefined && allNamespaces) {
    throw new NattoError("BadRequest", "-n and -A do not go together; give one of them");
  }
  const { type } = options;
  if (options.for === undefined) {
    const within = allNamespaces ? undefined : (namespace ?? DEFAULT_NAMESPACE);
    return { selection: { kind: "Event", namespace: within }, filter: { type } };
  }
  const [target, ...more] = parseTargets([options.for], { namespace, allNamespaces });
  if (!target || more.length > 0) {
    throw new NattoError("BadRequest", `--for "${options.for}" is more than one kind; name one object`);
  }
  const { kind, name } = target;
  const lies = kindInfo(kind).namespaced ? target.namespace : DEFAULT_NAMESPACE;
  return {
    selection: { kind: "Event", namespace: lies },
    filter: { kind, namespace: target.namespace, name, type },
  };
}

async function show(store: Store, { selection, filter }: Query, { output }: EventsOptions): Promise<number> {
  const { items } = await store.list(selection);
  const events = newestFirst(items.filter((event) => eventMatches(event, filter))).toReversed();
  if (output === "json" || output === "yaml") print(formatDocument(listOf(events), output));
  else if (events.length === 0) {
    const hint = selection.namespace === undefined ? "" : `in namespace ${selection.namespace}; -A shows all`;
    say(`no events ${hint}`.trimEnd());
  } else {
    const wide = output === "wide";
    const rows = events.map((event) => eventRow(event, Date.now(), wide));
    print(`${tableLines([eventHeader(wide), ...rows]).join("\n")}\n`);
  }
  return 0;
}

/** Shows what there is, then every Event that is written, until the process is told to stop. */
async function watch(store: Store, { selection, filter }: Query, { output }: EventsOptions): Promise<number> {
  // Throws when the store cannot be reached at the start; later the mirror tries again.
  await store.list(selection);
  const wide = output === "wide";
  const stop = untilStopped();
  const mirror = openMirror(store, selection);
  let widths: readonly number[] = [];
  if (output === "table" || wide) {
    widths = columnWidths([eventHeader(wide)]);
    print(`${tableLines([eventHeader(wide)], widths).join("\n")}\n`);
  }
  mirror.onChange((change) => {
    if (change.type === "STATE") {
      if (mirror.staleSince() !== undefined) say(`natto: ${mirror.lastError()?.message}; trying again`);
      return;
    }
    // One that is removed for its age is no news.
    if (change.type === "DELETED" || !eventMatches(change.object, filter)) return;
    if (output === "json" || output === "yaml") return print(`${JSON.stringify(change)}\n`);
    const row = eventRow(change.object, Date.now(), wide);
    widths = columnWidths([row.slice(0, -1)], widths);
    print(`${tableLines([row], widths).join("\n")}\n`);
  });
  await stop;
  await mirror.close();
  return 0;
}
