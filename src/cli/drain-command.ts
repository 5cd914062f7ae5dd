/** `natto drain` and `natto undrain`: take a node out of service without breaking a flow, and put it back. */
import { setTimeout as delay } from "node:timers/promises";
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { withConnection, withStore } from "./connection.ts";
import { drainProgress, isDrained, readDuration } from "./drain.ts";
import { getNode } from "./node.ts";
import { print } from "./output.ts";
import { redoOnConflict } from "./redo.ts";

const HELP = `
New flows go to other nodes at once; those that are established stay until they end or the deadline passes.

Examples:
  natto drain node2 --wait
  natto drain node2 --deadline 30m --wait && reboot-it
  natto undrain node2`;

const POLL_MS = 1000;

interface DrainOptions {
  readonly deadline?: string;
  readonly wait?: boolean;
}

export function drainCommand(): Command {
  return withConnection(new Command("drain"))
    .description(
      "Hand a node's slots over to others; flows that are established are kept until the deadline.",
    )
    .argument("<node>", "name of the GatewayNode")
    .option(
      "--deadline <duration>",
      "how long established flows are kept at most, such as 90s, 30m, 2h (default: the cell's)",
    )
    .option("--wait", "show the progress, and return when nothing is left on the node")
    .addHelpText("after", HELP)
    .action(async (name: string, options: DrainOptions, self: Command) => {
      const seconds = options.deadline === undefined ? undefined : readDuration(options.deadline);
      await withStore(self, async (store) => {
        await declare(store, name, true, seconds);
        print(`node ${name} drains\n`);
        if (options.wait) await waitUntilDrained(store, name);
      });
    });
}

export function undrainCommand(): Command {
  return withConnection(new Command("undrain"))
    .description("Give a drained node its share of the slots again.")
    .argument("<node>", "name of the GatewayNode")
    .action(async (name: string, _: unknown, self: Command) => {
      await withStore(self, async (store) => {
        await declare(store, name, false, undefined);
      });
      print(`node ${name} takes slots again\n`);
    });
}

/** The node's agent writes its status all the time, so a write may meet another version than was read. */
async function declare(
  store: Store,
  name: string,
  drain: boolean,
  seconds: number | undefined,
): Promise<void> {
  await redoOnConflict(async () => {
    const node = await getNode(store, name);
    const { drainSeconds: _, ...spec } = node.spec;
    const wanted = { ...spec, drain, ...(seconds === undefined ? {} : { drainSeconds: seconds }) };
    await store.update<"GatewayNode">({ ...node, spec: wanted });
  });
}

/** Shows each change of the progress. Ends when the node holds nothing, or when somebody undrains it. */
async function waitUntilDrained(store: Store, name: string): Promise<void> {
  for (let shown = ""; ; await delay(POLL_MS)) {
    const [node, { items }] = await Promise.all([getNode(store, name), store.list({ kind: "Placement" })]);
    if (!node.spec.drain) throw new NattoError("Conflict", `node ${name} was undrained meanwhile`);
    const progress = drainProgress(
      node,
      items.map((placement) => placement.spec),
      Date.now(),
    );
    if (progress !== shown) print(`${progress}\n`);
    shown = progress;
    if (
      isDrained(
        node,
        items.map((placement) => placement.spec),
      )
    )
      return;
  }
}
