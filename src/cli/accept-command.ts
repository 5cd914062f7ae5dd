/** `natto accept` */
import { Command } from "commander";
import { ACCEPTED, acceptance } from "../agent/config-judgement.ts";
import { NattoError } from "../errors.ts";
import type { GatewayNode } from "../model/gateway-node.ts";
import type { Store } from "../store/store.ts";
import { withConnection, withStore } from "./connection.ts";
import { print } from "./output.ts";
import { forEach, openAccount } from "./run-all.ts";

interface AcceptOptions {
  readonly all?: boolean;
}

const HELP = `
A node whose store was lost, or is as it was earlier, keeps its last good configuration and says so in its condition
ConfigDoubted, with the reason RolledBack. Restore the store with natto import; the doubt then ends by itself. This command is for
when what is declared now is what is meant: flows of gateways that are not declared any more end.

Examples:
  natto get nodes -o wide
  natto accept node-a
  natto accept --all`;

export function acceptCommand(): Command {
  return withConnection(new Command("accept"))
    .description("Have nodes obey a store that has less than they had.")
    .argument("[nodes...]", "names of nodes")
    .option("--all", "every node that doubts it")
    .addHelpText("after", HELP)
    .action(async (names: readonly string[], options: AcceptOptions, command: Command) => {
      if (names.length > 0 === (options.all ?? false)) {
        throw new NattoError("BadRequest", "natto accept needs names of nodes, or --all");
      }
      process.exitCode = await withStore(command, (store) => acceptAll(store, names));
    });
}

/** Without names: all that doubt. */
async function acceptAll(store: Store, names: readonly string[]): Promise<number> {
  const { items } = await store.list({ kind: "GatewayNode" });
  const doubting = items.filter((node) => doubtOf(node) !== undefined).map(({ metadata }) => metadata.name);
  const account = openAccount();
  const chosen = names.length > 0 ? names : doubting;
  await forEach(chosen, account, async (name) => {
    print(
      `${await accept(
        store,
        name,
        items.find(({ metadata }) => metadata.name === name),
      )}\n`,
    );
  });
  if (chosen.length === 0) print("no node doubts that its configuration is of the present\n");
  return account.settle(chosen.length, "accepted");
}

async function accept(store: Store, name: string, node: GatewayNode | undefined): Promise<string> {
  const doubt = node && doubtOf(node);
  if (!doubt) {
    throw new NattoError(
      "Rejected",
      `node ${name} ${node ? "does not doubt that its configuration is of the present" : "is not registered"}; there is nothing to accept`,
    );
  }
  const config = await store.get({ kind: "NodeConfig", name });
  if (!config) {
    throw new NattoError(
      "Rejected",
      `there is no NodeConfig ${name} that the node could obey; restore the store, or let a controller run`,
    );
  }
  const annotations = { ...config.metadata.annotations, [ACCEPTED]: acceptance(config) };
  await store.update<"NodeConfig">({ ...config, metadata: { ...config.metadata, annotations } });
  return `node ${name} is to obey what is declared. It doubted: ${doubt}`;
}

function doubtOf(node: GatewayNode): string | undefined {
  const condition = node.status?.conditions.find(({ type }) => type === "ConfigDoubted");
  return condition?.status === "True" && condition.reason === "RolledBack" ? condition.message : undefined;
}
