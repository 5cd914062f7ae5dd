/** The options with which commands reach the store, and the store that they name. */
import type { Command } from "commander";
import type { Store } from "../store/store.ts";

export const DEFAULT_SERVER = "http://127.0.0.1:7474";

export interface ConnectionOptions {
  readonly server?: string | undefined;
  readonly namespace?: string | undefined;
}

/** Adds `--server` and `--namespace` to a command. They may stand before or after the command's name. */
export function withConnection(command: Command): Command {
  return command
    .option(
      "--server <url>",
      `natto server, or a store such as file:natto.db (default: $NATTO_SERVER, then ${DEFAULT_SERVER})`,
    )
    .option("-n, --namespace <name>", "namespace (default: default)");
}

/** The connection options of a command line; what stands after the command's name wins. */
export function connectionOf(command: Command): ConnectionOptions {
  const before: ConnectionOptions = command.parent ? connectionOf(command.parent) : {};
  const after: ConnectionOptions = command.opts();
  return { ...before, ...after };
}

/** Opens the store that the command line names, and closes it when `use` has ended. */
export async function withStore<T>(command: Command, use: (store: Store) => Promise<T>): Promise<T> {
  const { openStore } = await import("../store/open-store.ts");
  const url = connectionOf(command).server ?? process.env.NATTO_SERVER ?? DEFAULT_SERVER;
  const store = await openStore(url);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}
