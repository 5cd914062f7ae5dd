/** How commands print: data to standard output, messages to standard error. */
import { InvalidArgumentError, Option } from "commander";
import { stringify } from "yaml";
import type { AnyObject } from "../model/kinds.ts";
import { API_VERSION } from "../model/meta.ts";
import { fullName } from "./targets.ts";

export type Format = "table" | "wide" | "json" | "yaml" | "name";

/** `-o, --output FORMAT`. The first of the formats is the default. */
export function outputOption(formats: readonly [Format, ...Format[]]): Option {
  return new Option("-o, --output <format>", formats.join("|"))
    .argParser((text): Format => {
      const format = formats.find((known) => known === text);
      if (format) return format;
      throw new InvalidArgumentError(`Use one of ${formats.join(", ")}.`);
    })
    .default(formats[0]);
}

/** A value as one JSON or YAML document, with its line end. */
export function formatDocument(value: unknown, format: "json" | "yaml"): string {
  if (format === "json") return `${JSON.stringify(value, null, 2)}\n`;
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

/** Many objects as one, in the manner of Kubernetes; `natto apply` takes it apart again. */
export function listOf(items: readonly AnyObject[]): unknown {
  return { apiVersion: API_VERSION, kind: "List", items };
}

/** An object's name in output, with its kind. */
export function fullNameOf(object: AnyObject): string {
  return fullName(object.kind, object.metadata.namespace, object.metadata.name);
}

/** Writes data to standard output. */
export function print(text: string): void {
  process.stdout.write(text);
}

/** Writes one line for people to standard error. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
