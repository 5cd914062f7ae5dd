/** `natto controller` */
import { Command } from "commander";
import {
  logLevelOption,
  runService,
  type ServiceOptions,
  startControl,
  storeOption,
} from "./service-options.ts";

const HELP = `
Run one controller for a store: either this command or natto server --controller.

Examples:
  natto controller --store http://192.0.2.1:7474`;

export function controllerCommand(): Command {
  return new Command("controller")
    .description("Plan what is declared in a store, and publish placements and node configurations there.")
    .addOption(storeOption())
    .addOption(logLevelOption())
    .addHelpText("after", HELP)
    .action(async (options: ServiceOptions) => {
      await runService(options, async (store, logger, running) => {
        await startControl(store, logger, running);
        return { controller: true };
      });
    });
}
