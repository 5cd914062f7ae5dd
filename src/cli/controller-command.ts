/** `natto controller` */
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

interface ControllerOptions extends ServiceOptions {
  readonly membership: string;
  readonly electionTtl: number;
  readonly metricsListen?: ListenAddress;
}

const HELP = `
Run several for one store, on different machines: one of them leads, the others stand by and take over when it falls
silent. natto server --controller takes part in the same election.

Examples:
  natto controller --store etcd://etcd-1,etcd-2,etcd-3 --metrics-listen 127.0.0.1:7475
  natto controller --store http://192.0.2.1:7474`;

export function controllerCommand(): Command {
  return new Command("controller")
    .description("Plan what is declared in a store, and publish placements and node configurations there.")
    .addOption(storeOption())
    .addOption(membershipOption())
    .addOption(electionOption())
    .addOption(
      new Option("--metrics-listen <host:port>", "serve /metrics and /healthz there").argParser(
        parseListenAddress,
      ),
    )
    .addOption(logLevelOption())
    .addHelpText("after", HELP)
    .action(async (options: ControllerOptions) => {
      await runService(options, async (store, logger, running, events) => {
        const { makeRegistry } = await import("../server/metrics.ts");
        const registry = makeRegistry();
        const { membership, electionTtl, metricsListen } = options;
        await startControl(store, logger, running, { membership, electionTtl, registry, events });
        if (!metricsListen) return { controller: true };
        const { startMetricsServer } = await import("../server/server.ts");
        const metrics = await startMetricsServer({ ...metricsListen, logger, registry });
        running.defer(() => metrics.close());
        return { controller: true, metrics: `${metrics.url}/metrics` };
      });
    });
}
