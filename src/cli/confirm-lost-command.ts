/** `natto confirm-lost` */
import { Command } from "commander";
import { confirmLost, undoConfirmation } from "./confirm-lost.ts";
import { withConnection, withStore } from "./connection.ts";
import { print, say } from "./output.ts";

const HELP = `
When more nodes vanish at once than the cell's maxLossPercent allows to believe, they keep their slots, and the cell's condition
MembershipDoubted names them. This command ends the doubt about a node that is truly dead. It listens for the node first and refuses
when the node or a living peer says otherwise. Take the word back when the machine is in service again.

Examples:
  natto describe cell main
  natto confirm-lost node4
  natto confirm-lost node4 --undo`;

interface ConfirmOptions {
  readonly undo?: boolean;
  readonly force?: boolean;
}

export function confirmLostCommand(): Command {
  return withConnection(new Command("confirm-lost"))
    .description("Say that a node whose loss is doubted is truly dead, so that its slots go to others.")
    .argument("<node>", "name of the GatewayNode")
    .option("--undo", "take the word back")
    .option("--force", "do not listen for the node first")
    .addHelpText("after", HELP)
    .action(async (name: string, { undo = false, force = false }: ConfirmOptions, self: Command) => {
      const said = await withStore(self, (store) =>
        undo ? undoConfirmation(store, name) : confirmLost(store, name, { force, say }),
      );
      print(`${said}\n`);
    });
}
