/** `natto diff` */
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import type { NodeConfigSpec } from "../planner/plan.ts";
import { LAST_APPLIED } from "./apply.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { changeLine, type FieldChange, fieldChanges } from "./field-changes.ts";
import { fileOption } from "./file-options.ts";
import { readManifests } from "./manifest-files.ts";
import { checkManifests } from "./manifest-set.ts";
import { formatDocument, fullNameOf, outputOption, print } from "./output.ts";
import { type Proposal, propose } from "./proposal.ts";
import { openAccount } from "./run-all.ts";
import { fullName } from "./targets.ts";

interface DiffOptions {
  readonly filename?: readonly string[];
  readonly output: "table" | "json" | "yaml";
}

const HELP = `
Fields are shown as + (new), - (goes) or ~ (changes): first of the objects in the files, then of the configuration of each
node that would be another one. Nothing is written.

Examples:
  natto diff -f examples/nat
  natto get gateways -A -o yaml | natto diff -f -`;

export function diffCommand(): Command {
  return withConnection(new Command("diff"))
    .description("Show field by field what applying files would change, in objects and on nodes.")
    .addOption(fileOption())
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText("after", HELP)
    .action(async (options: DiffOptions, command: Command) => {
      process.exitCode = await diffFiles(options, command);
    });
}

async function diffFiles({ filename, output }: DiffOptions, command: Command): Promise<number> {
  if (!filename) throw new NattoError("BadRequest", "natto diff needs -f FILE, -f FOLDER or -f -");
  const manifests = await readManifests(filename, process.stdin);
  const { valid, faults } = checkManifests(manifests, connectionOf(command).namespace);
  const account = openAccount();
  const proposal = await withStore(command, (store) => propose(store, valid, "apply"));
  [...faults, ...proposal.faults].forEach(account.failed);
  const differences = [...objectDifferences(proposal), ...nodeDifferences(proposal)];
  if (output === "table") print(differences.map(differenceText).join(""));
  else print(formatDocument({ kind: "List", items: differences }, output));
  return account.settle(manifests.length, "compared");
}

interface Difference {
  readonly object: string;
  readonly changes: readonly FieldChange[];
}

function objectDifferences({ objects }: Proposal): readonly Difference[] {
  return objects.flatMap(({ before, after }) => {
    if (!after || before === after) return [];
    return [{ object: fullNameOf(after), changes: fieldChanges(declared(before), declared(after), "") }];
  });
}

/** What people declare of an object; nothing of what the store adds. */
function declared(object: AnyObject | undefined) {
  if (!object) return {};
  const { [LAST_APPLIED]: _, ...annotations } = object.metadata.annotations;
  return { metadata: { labels: object.metadata.labels, annotations }, spec: object.spec };
}

function nodeDifferences({ before, after }: Proposal): readonly Difference[] {
  const [was, is] = [before.plan.nodeConfigs, after.plan.nodeConfigs];
  const names = [...new Set([...was.keys(), ...is.keys()])].sort();
  return names.flatMap((name) => {
    const changes = fieldChanges(byName(was.get(name)), byName(is.get(name)), "spec");
    return changes.length > 0 ? [{ object: fullName("NodeConfig", undefined, name), changes }] : [];
  });
}

/** Gateways by their names, so that one that comes or goes does not make all later ones differ. */
function byName(spec: NodeConfigSpec | undefined) {
  if (!spec) return undefined;
  const gateways = Object.fromEntries(spec.gateways.map((g) => [`${g.namespace}/${g.name}`, g]));
  return { ...spec, gateways };
}

function differenceText({ object, changes }: Difference): string {
  return `${object}\n${changes.map((change) => `  ${changeLine(change)}\n`).join("")}`;
}
