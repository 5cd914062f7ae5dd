/** `natto export` */
import { Command } from "commander";
import { NattoError } from "../errors.ts";
import { kindInfo } from "../model/kinds.ts";
import { BACKUP_KINDS, backedUp } from "./backup.ts";
import { connectionOf, withConnection, withStore } from "./connection.ts";
import { fetchTarget } from "./fetch-targets.ts";
import { formatDocument, print } from "./output.ts";
import { kindOfWord, type Target } from "./targets.ts";

const HELP = `
Writes what natto import needs to bring a cloud back: everything that is declared, and the placements. Objects come in the
same order each time, so two exports can be compared. What is damaged is named on standard error and left out.

Examples:
  natto export > backup.yaml
  natto export gateways -n team-a
  natto export --server etcd://etcd-1,etcd-2,etcd-3 > backup.yaml`;

export function exportCommand(): Command {
  return withConnection(new Command("export"))
    .description("Write all objects, or those of some kinds, as YAML.")
    .argument("[kinds...]", "only these kinds")
    .addHelpText("after", HELP)
    .action(async (words: readonly string[], _: unknown, command: Command) => {
      const { namespace } = connectionOf(command);
      const targets = targetsOf(words, namespace);
      await withStore(command, async (store) => {
        for (const target of targets) {
          for (const object of await fetchTarget(store, target)) {
            print(`---\n${formatDocument(backedUp(object), "yaml")}`);
          }
        }
      });
    });
}

/** All kinds, or those that are named; with a namespace, only of kinds that have one. */
function targetsOf(words: readonly string[], namespace: string | undefined): readonly Target[] {
  const kinds = words.length === 0 ? BACKUP_KINDS : [...new Set(words.map(kindOfWord))];
  const targets = kinds
    .filter((kind) => namespace === undefined || kindInfo(kind).namespaced)
    .map((kind) => ({ kind, namespace, name: undefined }));
  if (targets.length > 0) return targets;
  throw new NattoError("BadRequest", `${kinds.join(", ")} belongs to no namespace; leave out -n`);
}
