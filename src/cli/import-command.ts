/** `natto import` */
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import type { AnyObject } from "../model/kinds.ts";
import { nameOf } from "../model/validate.ts";
import type { Store } from "../store/store.ts";
import {
  closeCell,
  isPublished,
  type Outcome,
  openCells,
  type RestoreOptions,
  restorationOf,
  restoreUnit,
  type Unit,
} from "./backup.ts";
import { withConnection, withStore } from "./connection.ts";
import { fileOption } from "./file-options.ts";
import { readManifests } from "./manifest-files.ts";
import { checkManifests } from "./manifest-set.ts";
import { fullNameOf, print, say } from "./output.ts";
import { type Account, forEach, openAccount } from "./run-all.ts";

interface ImportOptions {
  readonly filename?: readonly string[];
  readonly dryRun?: boolean;
  readonly overwrite?: boolean;
}

const HELP = `
Objects that are missing come back with their uid and generation, a gateway together with its placement, so that its slots
stay where they were. Objects that exist stay as they are unless --overwrite is given. Running it again changes nothing more.

Examples:
  natto import -f backup.yaml --dry-run
  natto import -f backup.yaml
  natto import -f backup.yaml --overwrite`;

/** So many units are restored between two lines about the progress. */
const PROGRESS_UNITS = 500;
/** How long a controller may take to give the nodes what was restored, and how often it is looked at. */
const PUBLISHING_MS = 30_000;
const PUBLISHING_POLL_MS = 500;

export function importCommand(): Command {
  return withConnection(new Command("import"))
    .description("Bring back what natto export has written.")
    .addOption(fileOption())
    .option("--dry-run", "say what would be done with each object, but write nothing")
    .option("--overwrite", "give objects that exist and differ what the file says")
    .addHelpText("after", HELP)
    .action(async (options: ImportOptions, command: Command) => {
      process.exitCode = await importAll(options, command);
    });
}

async function importAll(options: ImportOptions, command: Command): Promise<number> {
  if (!options.filename) throw new NattoError("BadRequest", "natto import needs -f FILE, -f FOLDER or -f -");
  const manifests = await readManifests(options.filename, process.stdin);
  const { valid, faults } = checkManifests(manifests, undefined, { system: true });
  const account = openAccount();
  faults.forEach(account.failed);
  const { units, left } = restorationOf(valid.map(({ object }) => object));
  for (const { object, why } of left) say(`natto: ${nameOf(object)} is not restored: it ${why}`);
  const { overwrite = false, dryRun = false } = options;
  await withStore(command, async (store) => {
    await restoreAll(store, units, { overwrite, dryRun }, account);
    if (!dryRun) await closeCells(store, units.flat());
  });
  return account.settle(manifests.length, "imported");
}

async function restoreAll(
  store: Store,
  units: readonly Unit[],
  options: RestoreOptions,
  account: Account,
): Promise<void> {
  const tally = new Map<Outcome, number>();
  let done = 0;
  await forEach(units, account, async (unit) => {
    done += 1;
    const outcomes = await restoreUnit(store, unit, options);
    for (const [i, outcome] of outcomes.entries()) {
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
      print(`${lineOf(unit[i]!, outcome, options)}\n`);
    }
    if (done % PROGRESS_UNITS === 0) say(`natto: ${done} of ${units.length}`);
  });
  const kept = tally.get("kept") ?? 0;
  if (kept > 0) {
    say(`natto: ${kept} objects exist and differ from the backup; they were kept as they are (--overwrite)`);
  }
}

/** Cells that were opened for the import go on with waves once their nodes have been given everything. */
async function closeCells(store: Store, objects: readonly AnyObject[]): Promise<void> {
  const end = performance.now() + PUBLISHING_MS;
  for (const cell of await openCells(store, objects)) {
    let published = await isPublished(store, cell, objects);
    while (!published && performance.now() < end) {
      await delay(PUBLISHING_POLL_MS);
      published = await isPublished(store, cell, objects);
    }
    if (published) await closeCell(store, cell);
    else {
      const waited = PUBLISHING_MS / 1000;
      say(
        `natto: no controller has given the nodes of ${nameOf(cell)} all gateways within ${waited} s; ` +
          "until then it takes changes without waves (spec.rollout.canaries is 0): import again when one runs",
      );
    }
  }
}

function lineOf(object: AnyObject, outcome: Outcome, { dryRun }: RestoreOptions): string {
  return `${fullNameOf(object)} ${outcome}${dryRun ? " (dry run)" : ""}`;
}
