/** `natto server` */
import { Command, Option } from "commander";
import { type ListenAddress, parseListenAddress } from "./listen-address.ts";
import { membershipOption } from "./membership-option.ts";
import {
  electionOption,
  logLevelOption,
  runService,
  type ServiceOptions,
  startControl,
  storeOption,
} from "./service-options.ts";

interface ServerOptions extends ServiceOptions {
  readonly listen: ListenAddress;
  readonly controller?: boolean;
  readonly membership: string;
  readonly electionTtl: number;
}

const HELP = `
Logs JSON lines to standard error (lines for people on a terminal); the line "ready" says where it listens.
Stops cleanly on SIGTERM and SIGINT.

Examples:
  natto server --store file:natto.db --controller
  natto server --store file:/var/lib/natto/natto.db --listen 0.0.0.0:7474`;

export function serverCommand(): Command {
  return new Command("server")
    .description(
      "Serve the HTTP API over a store. With --controller, plan and publish as well: a whole control plane in one process.",
    )
    .addOption(storeOption())
    .addOption(
      new Option("--listen <host:port>", "where to listen; port 0 takes a free one")
        .argParser(parseListenAddress)
        .default({ host: "127.0.0.1", port: 7474 }, "127.0.0.1:7474"),
    )
    .option("--controller", "also run a controller, which works while no other leads")
    .addOption(membershipOption())
    .addOption(electionOption())
    .addOption(logLevelOption())
    .addHelpText("after", HELP)
    .action(async (options: ServerOptions) => {
      await runService(options, async (store, logger, running, events) => {
        const { startServer } = await import("../server/server.ts");
        const { makeRegistry } = await import("../server/metrics.ts");
        const registry = makeRegistry();
        const server = await startServer({ store, ...options.listen, logger, registry });
        running.defer(() => server.close());
        const { membership, electionTtl } = options;
        if (options.controller)
          await startControl(store, logger, running, { membership, electionTtl, registry, events });
        return { url: server.url, controller: options.controller ?? false };
      });
    });
}
