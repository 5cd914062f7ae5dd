/** `natto delete` */
import { setTimeout as delay } from "node:timers/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { NattoError } from "../errors.ts";
import { type AnyObject, kindInfo } from "../model/kinds.ts";
import { keyOf, type ObjectKey, type Store } from "../store/store.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { missing } from "./fetch-targets.ts";
import { fileOption } from "./file-options.ts";
import { readManifests } from "./manifest-files.ts";
import { checkManifests } from "./manifest-set.ts";
import { type Format, outputOption } from "./output.ts";
import { openResults, type Results } from "./results.ts";
import { type Account, forEach, openAccount } from "./run-all.ts";
import { parseTargets, type Target } from "./targets.ts";

interface DeleteOptions {
  readonly filename?: readonly string[];
  readonly ignoreNotFound?: boolean;
  readonly timeout: number;
  readonly output: Format;
}

/** How often a deletion that was rejected is tried again. */
const RETRY_MS = 200;

const HELP = `
Objects of files are deleted in the reverse of their order there, so that what refers to others goes first.

Examples:
  natto delete gateway web -n team-a
  natto delete gateway/team-a/web pool/public
  natto delete -f examples/nat --ignore-not-found`;

export function deleteCommand(): Command {
  return withConnection(new Command("delete"))
    .description("Delete objects, named one by one or by the files that declare them.")
    .argument("[kind]", "KIND or KIND/NAME")
    .argument("[names...]", "NAME or NAMESPACE/NAME; more KIND/NAME")
    .addOption(fileOption())
    .option("--ignore-not-found", "an object that does not exist is no error")
    .addOption(
      new Option(
        "--timeout <seconds>",
        "how long a pool may wait for the addresses of gateways deleted just before",
      )
        .argParser(parseSeconds)
        .default(10),
    )
    .addOption(outputOption(["table", "json", "yaml", "name"]))
    .addHelpText("after", HELP)
    .action(
      async (
        kind: string | undefined,
        names: readonly string[],
        options: DeleteOptions,
        command: Command,
      ) => {
        const words = kind === undefined ? [] : [kind, ...names];
        process.exitCode = await deleteObjects(words, options, command);
      },
    );
}

async function deleteObjects(
  words: readonly string[],
  options: DeleteOptions,
  command: Command,
): Promise<number> {
  const { namespace } = connectionOf(command);
  const account = openAccount();
  if ((options.filename === undefined) === (words.length === 0)) {
    throw new NattoError("BadRequest", "natto delete needs either -f FILE or KIND NAME");
  }
  const targets = options.filename
    ? await targetsOfFiles(options.filename, namespace, account)
    : namedTargets(words, namespace);
  const total = targets.length + account.failures();
  const results = openResults(options.output);
  await withStore(command, (store) => deleteAll(store, targets, options, account, results));
  results.finish(total);
  return account.settle(total, "deleted");
}

function namedTargets(words: readonly string[], namespace: string | undefined): Target[] {
  const targets = parseTargets(words, { namespace, allNamespaces: false });
  for (const { kind, name } of targets) {
    if (name === undefined) {
      throw new NattoError("BadRequest", `name the ${kindInfo(kind).plural} to delete, or write -f FILE`);
    }
    if (kindInfo(kind).system) {
      throw new NattoError(
        "Rejected",
        `${kind} ${name} is of a kind that Natto writes itself; delete what it follows from (NatGateway, GatewayNode, Cell)`,
      );
    }
  }
  return targets;
}

async function targetsOfFiles(
  files: readonly string[],
  namespace: string | undefined,
  account: Account,
): Promise<Target[]> {
  const { valid, faults } = checkManifests(await readManifests(files, process.stdin), namespace);
  faults.forEach(account.failed);
  return valid.map(({ object }) => ({ namespace: undefined, ...keyOf(object) })).reverse();
}

async function deleteAll(
  store: Store,
  targets: readonly Target[],
  { ignoreNotFound = false, timeout }: DeleteOptions,
  account: Account,
  results: Results,
): Promise<void> {
  let deleted = 0;
  await forEach(targets, account, async (target) => {
    const { kind, namespace, name } = target;
    if (name === undefined) return;
    // The addresses of a gateway that was just deleted are in use until the controller has seen it.
    const patienceMs = kind === "AddressPool" && deleted > 0 ? timeout * 1000 : 0;
    try {
      results.add(await deletePatiently(store, { kind, namespace, name }, patienceMs), "deleted");
      deleted += 1;
    } catch (thrown) {
      if (!(thrown instanceof NattoError) || thrown.code !== "NotFound") throw thrown;
      if (!ignoreNotFound) throw missing(target, name);
    }
  });
}

/** Deletes an object; while it is rejected because others use it, tries again until the patience is over. */
async function deletePatiently(store: Store, key: ObjectKey, patienceMs: number): Promise<AnyObject> {
  for (let left = patienceMs; ; left -= RETRY_MS) {
    try {
      return await store.delete(key);
    } catch (thrown) {
      if (!(thrown instanceof NattoError) || thrown.code !== "Rejected" || left <= 0) throw thrown;
    }
    await delay(RETRY_MS);
  }
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (text !== "" && seconds >= 0 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError("Give a number of seconds from 0 to 3600.");
}
