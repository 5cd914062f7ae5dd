/** `natto version` */
import { Command } from "commander";
import { NATTO_VERSION } from "../version.ts";
import { type Format, formatDocument, outputOption, print } from "./output.ts";

export function versionCommand(): Command {
  return new Command("version")
    .description("Print the versions of Natto and of the Node.js that runs it.")
    .addOption(outputOption(["table", "json", "yaml"]))
    .action(({ output }: { readonly output: Format }) => {
      const versions = { natto: NATTO_VERSION, node: process.versions.node };
      if (output === "json" || output === "yaml") print(formatDocument(versions, output));
      else print(`natto ${versions.natto} (Node.js ${versions.node})\n`);
    });
}
