/** `natto describe` */
import { Command } from "commander";
import type { Event } from "../model/event.ts";
import type { AnyObject } from "../model/kinds.ts";
import { DEFAULT_NAMESPACE } from "../model/meta.ts";
import type { Store } from "../store/store.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { describe, type Related } from "./describe.ts";
import { eventMatches } from "./event-rows.ts";
import { type Facts, factsText } from "./facts.ts";
import { fetchTarget, nothingFound } from "./fetch-targets.ts";
import { formatDocument, outputOption, print, say } from "./output.ts";
import { forEach, openAccount } from "./run-all.ts";
import { parseTargets, type Target } from "./targets.ts";

const HELP = `
Examples:
  natto describe gateway web -n team-a
  natto describe node/a
  natto describe pools -o json`;

export function describeCommand(): Command {
  return withConnection(new Command("describe"))
    .description("Everything about an object: what is declared, what was made of it, how it is.")
    .argument("<kind>", "KIND or KIND/NAME")
    .argument("[names...]", "NAME or NAMESPACE/NAME; without any, all of the kind")
    .option("-A, --all-namespaces", "objects of all namespaces")
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (kind: string, names: readonly string[], options: DescribeOptions, command: Command) => {
      const { namespace } = connectionOf(command);
      const scope = { namespace, allNamespaces: options.allNamespaces ?? false };
      const targets = parseTargets([kind, ...names], scope);
      process.exitCode = await withStore(command, (store) => describeTargets(store, targets, options));
    });
}

interface DescribeOptions {
  readonly output: "table" | "json" | "yaml";
  readonly allNamespaces?: boolean;
}

async function describeTargets(
  store: Store,
  targets: readonly Target[],
  { output }: DescribeOptions,
): Promise<number> {
  const account = openAccount();
  const described: Facts[] = [];
  const eventsFor = openEvents(store);
  await forEach(targets, account, async (target) => {
    for (const object of await fetchTarget(store, target)) {
      described.push(
        describe(
          object,
          { ...(await fetchRelated(store, object)), events: await eventsFor(object) },
          Date.now(),
        ),
      );
    }
  });
  const code = account.settle(targets.length, "described");
  const single = targets.length === 1 && targets[0]?.name !== undefined;
  const [only] = described;
  if (output === "table") print(described.map(factsText).join("\n"));
  else if (!single) print(formatDocument({ kind: "List", items: described }, output));
  else if (only) print(formatDocument(only, output));
  if (described.length === 0 && code === 0) say(nothingFound(targets));
  return code;
}

/** Finds the Events of objects; each namespace is read once. */
function openEvents(store: Store): (object: AnyObject) => Promise<readonly Event[]> {
  const read = new Map<string, Promise<readonly Event[]>>();
  return async ({ kind, metadata }) => {
    const { namespace, name } = metadata;
    const lies = namespace ?? DEFAULT_NAMESPACE;
    const listed = read.get(lies) ?? store.list({ kind: "Event", namespace: lies }).then((l) => l.items);
    read.set(lies, listed);
    return (await listed).filter((event) => eventMatches(event, { kind, namespace, name }));
  };
}

/** Reads what says something about an object of this kind. */
async function fetchRelated(store: Store, { kind, metadata }: AnyObject): Promise<Omit<Related, "events">> {
  const { name, namespace } = metadata;
  const none: Omit<Related, "events"> = {
    placements: [],
    nodes: [],
    nodeConfig: undefined,
    lease: undefined,
  };
  switch (kind) {
    case "NatGateway": {
      const [placements, nodes] = await Promise.all([
        store.list({ kind: "Placement", namespace, name }),
        store.list({ kind: "GatewayNode" }),
      ]);
      return { ...none, placements: placements.items, nodes: nodes.items };
    }
    case "AddressPool":
      return { ...none, placements: (await store.list({ kind: "Placement" })).items };
    case "Cell": {
      const [placements, nodes] = await Promise.all([
        store.list({ kind: "Placement" }),
        store.list({ kind: "GatewayNode" }),
      ]);
      return { ...none, placements: placements.items, nodes: nodes.items };
    }
    case "GatewayNode": {
      const [placements, nodeConfig, lease] = await Promise.all([
        store.list({ kind: "Placement" }),
        store.get({ kind: "NodeConfig", name }),
        store.get({ kind: "Lease", name }),
      ]);
      return { ...none, placements: placements.items, nodeConfig, lease };
    }
    default:
      return none;
  }
}
