/** `natto apply` */
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { applyObject } from "./apply.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { fileOption } from "./file-options.ts";
import { type CheckedManifest, placeError } from "./manifest.ts";
import { readManifests } from "./manifest-files.ts";
import { checkManifests } from "./manifest-set.ts";
import { type Format, outputOption } from "./output.ts";
import { openResults, type Results } from "./results.ts";
import { type Account, forEach, openAccount } from "./run-all.ts";

interface ApplyOptions {
  readonly filename?: readonly string[];
  readonly dryRun?: boolean;
  readonly serverDryRun?: boolean;
  readonly output: Format;
}

const HELP = `
A field that was removed from the file since the last apply goes back to its default; what others have set in
the meantime, such as an operator's drain, stays.

Examples:
  natto apply -f examples/nat
  natto apply -f cell.yaml -f tenants/
  natto get gateways -A -o yaml | natto apply -f -
  natto apply -f gateway.yaml --dry-run`;

export function applyCommand(): Command {
  return withConnection(new Command("apply"))
    .description(
      "Make what is stored as files say; says of each object whether it was created, configured or unchanged.",
    )
    .addOption(fileOption())
    .option("--dry-run", "only check the files; needs no server")
    .option(
      "--server-dry-run",
      "also compare with what is stored and say what would be done, but write nothing",
    )
    .addOption(outputOption(["table", "json", "yaml", "name"]))
    .addHelpText("after", HELP)
    .action(async (options: ApplyOptions, command: Command) => {
      process.exitCode = await apply(options, command);
    });
}

async function apply(options: ApplyOptions, command: Command): Promise<number> {
  if (!options.filename) throw new NattoError("BadRequest", "natto apply needs -f FILE, -f FOLDER or -f -");
  const manifests = await readManifests(options.filename, process.stdin);
  const { valid, faults } = checkManifests(manifests, connectionOf(command).namespace);
  const account = openAccount();
  const results = openResults(options.output);
  faults.forEach(account.failed);
  if (options.dryRun) {
    const { crossCheck } = await import("./cross-check.ts");
    const checked = crossCheck(valid);
    checked.faults.forEach(account.failed);
    for (const { object } of checked.valid) results.add(object, "valid (dry run)");
  } else if (valid.length > 0) {
    await withStore(command, (store) => applyAll(store, valid, options, account, results));
  }
  results.finish(manifests.length);
  return account.settle(manifests.length, options.dryRun ? "accepted" : "applied");
}

async function applyAll(
  store: Store,
  manifests: readonly CheckedManifest[],
  { serverDryRun = false }: ApplyOptions,
  account: Account,
  results: Results,
): Promise<void> {
  const work = async ({ object, manifest }: CheckedManifest) => {
    const applied = await applyObject(store, object, manifest.input, serverDryRun);
    results.add(applied.object, serverDryRun ? `${applied.outcome} (server dry run)` : applied.outcome);
  };
  const explain = ({ manifest }: CheckedManifest, error: NattoError) =>
    error.code === "Unavailable" ? error : placeError(manifest, error);
  await forEach(manifests, account, work, explain);
}
