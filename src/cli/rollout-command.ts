/** `natto rollout status|pause|resume|undo` */
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import type { Cell } from "../model/cell.ts";
import type { Rollout } from "../model/rollout.ts";
import type { Store } from "../store/store.ts";
import { withConnection, withStore } from "./connection.ts";
import { factsText } from "./facts.ts";
import { formatDocument, outputOption, print } from "./output.ts";
import { resumed, rolloutFacts, undone } from "./rollout-facts.ts";

const HELP = `
Without CELL: the only cell that there is.

Examples:
  natto rollout status
  natto rollout pause main
  natto rollout undo main
  natto rollout resume main`;

export function rolloutCommand(): Command {
  const command = new Command("rollout")
    .description("How far a change has come in a cell, and whether it goes on.")
    .addHelpText("after", HELP);
  const status = withConnection(new Command("status"))
    .description("Show how far the latest change has come, what was set aside and why.")
    .argument("[cell]", "name of the cell")
    .addOption(outputOption(["table", "json", "yaml"]))
    .action(async (cell: string | undefined, options: StatusOptions, self: Command) => {
      await withStore(self, (store) => showStatus(store, cell, options));
    });
  command.addCommand(status);
  for (const { name, description, decide } of ACTIONS) {
    const action = withConnection(new Command(name))
      .description(description)
      .argument("[cell]", "name of the cell")
      .action(async (cell: string | undefined, _: unknown, self: Command) => {
        print(`${await withStore(self, (store) => declare(store, cell, decide))}\n`);
      });
    command.addCommand(action);
  }
  return command;
}

interface StatusOptions {
  readonly output: "table" | "json" | "yaml";
}

type RolloutSettings = Cell["spec"]["rollout"];

/** What an action declares on the cell, and what it says. */
interface Intent {
  readonly settings: RolloutSettings;
  readonly said: string;
}

interface Action {
  readonly name: string;
  readonly description: string;
  readonly decide: (settings: RolloutSettings, rollout: Rollout | undefined) => Intent;
}

const ACTIONS: readonly Action[] = [
  {
    name: "pause",
    description: "Let no further wave begin; what has been reached stays so.",
    decide: (settings) => ({ settings: { ...settings, paused: true }, said: "paused" }),
  },
  {
    name: "resume",
    description: "End a pause; try again what was set aside.",
    decide: resumed,
  },
  {
    name: "undo",
    description: "Let all nodes do again what was good before the latest change.",
    decide: undone,
  },
];

async function showStatus(store: Store, name: string | undefined, { output }: StatusOptions): Promise<void> {
  const cell = await findCell(store, name);
  const rollout = await store.get({ kind: "Rollout", name: cell.metadata.name });
  if (!rollout) throw nothingYet(cell);
  const facts = { ...rolloutFacts(rollout), paused: cell.spec.rollout.paused };
  print(output === "table" ? factsText(facts) : formatDocument(facts, output));
}

async function declare(store: Store, name: string | undefined, decide: Action["decide"]): Promise<string> {
  const cell = await findCell(store, name);
  const rollout = await store.get({ kind: "Rollout", name: cell.metadata.name });
  const { settings, said } = decide(cell.spec.rollout, rollout);
  await store.update<"Cell">({ ...cell, spec: { ...cell.spec, rollout: settings } });
  return `rollout of cell ${cell.metadata.name} ${said}`;
}

async function findCell(store: Store, name: string | undefined): Promise<Cell> {
  if (name !== undefined) {
    const cell = await store.get({ kind: "Cell", name });
    if (cell) return cell;
    throw new NattoError("NotFound", `Cell ${name} does not exist; see natto get cells`);
  }
  const { items } = await store.list({ kind: "Cell" });
  const [only] = items;
  if (only && items.length === 1) return only;
  const names = items.map((cell) => cell.metadata.name).join(", ");
  throw new NattoError(
    "BadRequest",
    `there are ${items.length} cells (${names || "none"}); name one of them`,
  );
}

function nothingYet({ metadata: { name } }: Cell): NattoError {
  return new NattoError(
    "NotFound",
    `Rollout ${name} does not exist yet; the controller writes it once the cell has nodes`,
  );
}
