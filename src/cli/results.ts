/** What a command has done to objects: a line each as it happens, or all objects as one document at the end. */
import type { AnyObject } from "../model/kinds.ts";
import { type Format, formatDocument, fullNameOf, listOf, print } from "./output.ts";

export interface Results {
  /** Adds an object and a word for what happened to it, such as `created`. */
  readonly add: (object: AnyObject, outcome: string) => void;
  /** Prints what is only known when all is done. One object that was asked for alone is printed by itself. */
  readonly finish: (asked: number) => void;
}

export function openResults(format: Format): Results {
  if (format === "json" || format === "yaml") {
    const objects: AnyObject[] = [];
    return {
      add: (object) => objects.push(object),
      finish: (asked) => {
        const [only] = objects;
        if (only || asked !== 1) print(formatDocument(asked === 1 ? only : listOf(objects), format));
      },
    };
  }
  return {
    add: (object, outcome) => print(`${fullNameOf(object)}${format === "name" ? "" : ` ${outcome}`}\n`),
    finish: () => {},
  };
}
