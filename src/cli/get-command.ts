/** `natto get` */
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import { type AnyObject, kindInfo } from "../model/kinds.ts";
import type { Store } from "../store/store.ts";
import { tableRows } from "./columns.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { fetchTarget, nothingFound } from "./fetch-targets.ts";
import { type Labels, parseLabelSelector } from "./label-selector.ts";
import { type Format, formatDocument, fullNameOf, listOf, outputOption, print, say } from "./output.ts";
import { forEach, openAccount } from "./run-all.ts";
import { tableLines } from "./table.ts";
import { parseTargets, type Target } from "./targets.ts";

export interface GetOptions {
  readonly output: Format;
  readonly allNamespaces?: boolean;
  readonly watch?: boolean;
  readonly selector?: string;
}

const HELP = `
KIND is a kind, its plural or short name (gateway, gw, node, pool, cell, …), several of them with commas, or
"all" for every kind that people declare.

Examples:
  natto get gateways -A
  natto get gateway web api -n team-a -o yaml
  natto get node/a gw/team-a/web
  natto get nodes -l topology.natto.dev/zone=east -o wide
  natto get gateways -A --watch`;

export function getCommand(): Command {
  return withConnection(new Command("get"))
    .description("List objects, show single ones, or follow their changes.")
    .argument("<kind>", "KIND or KIND/NAME")
    .argument("[names...]", "NAME or NAMESPACE/NAME; more KIND/NAME")
    .option("-A, --all-namespaces", "objects of all namespaces")
    .option(
      "-l, --selector <labels>",
      "only objects with these labels: label=value, label!=value, label; with commas",
    )
    .option("-w, --watch", "go on and show every change; with -o json or yaml one JSON object a line")
    .addOption(outputOption(["table", "wide", "json", "yaml", "name"]))
    .addHelpText("after", HELP)
    .action(async (kind: string, names: readonly string[], options: GetOptions, command: Command) => {
      const { namespace } = connectionOf(command);
      const allNamespaces = options.allNamespaces ?? false;
      if (namespace !== undefined && allNamespaces) {
        throw new NattoError("BadRequest", "-n and -A do not go together; give one of them");
      }
      const targets = parseTargets([kind, ...names], { namespace, allNamespaces });
      const matches = options.selector === undefined ? () => true : parseLabelSelector(options.selector);
      process.exitCode = await withStore(command, async (store) => {
        if (!options.watch) return await get(store, targets, options, matches);
        const { watchTarget } = await import("./watch-target.ts");
        return await watchTarget(store, targets, options, matches);
      });
    });
}

async function get(
  store: Store,
  targets: readonly Target[],
  options: GetOptions,
  matches: (labels: Labels) => boolean,
): Promise<number> {
  const account = openAccount();
  const objects: AnyObject[] = [];
  await forEach(targets, account, async (target) => {
    const found = await fetchTarget(store, target);
    objects.push(...found.filter(({ metadata }) => matches(metadata.labels)));
  });
  const code = account.settle(targets.length, "read");
  const named = targets.every(({ name }) => name !== undefined);
  if (options.output === "json" || options.output === "yaml") {
    const [only] = objects;
    if (!named || targets.length > 1) print(formatDocument(listOf(objects), options.output));
    else if (only) print(formatDocument(only, options.output));
  } else if (options.output === "name") {
    for (const object of objects) print(`${fullNameOf(object)}\n`);
  } else {
    printTables(objects, targets, options.output === "wide");
  }
  if (objects.length === 0 && code === 0) say(nothingFound(targets));
  return code;
}

/** One table for each kind; with more than one, names carry their kind. */
function printTables(objects: readonly AnyObject[], targets: readonly Target[], wide: boolean): void {
  const kinds = [...new Set(objects.map(({ kind }) => kind))];
  const namespaces = new Set(targets.filter(({ kind }) => kindInfo(kind).namespaced).map((t) => t.namespace));
  const options = { wide, namespaces: namespaces.size > 1 || namespaces.has(undefined), now: Date.now };
  const tables = kinds.map((kind) => {
    const rows = objects.filter((object) => object.kind === kind);
    const title = kinds.length > 1 ? `${kindInfo(kind).plural.toUpperCase()}\n` : "";
    return `${title}${tableLines(tableRows(kind, rows, options)).join("\n")}\n`;
  });
  print(tables.join("\n"));
}
