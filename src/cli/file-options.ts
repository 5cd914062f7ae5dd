/** `-f`, as several commands take it. */
import { Option } from "commander";

export function fileOption(): Option {
  return new Option(
    "-f, --filename <path>",
    "file, folder (with all *.yaml, *.yml and *.json below it) or - for standard input; may be given several times",
  ).argParser((path: string, before: readonly string[] | undefined) => [...(before ?? []), path]);
}
