/** Label selectors: `-l zone=a,tier!=test,managed`. Pure. */
import { NattoError } from "../errors.ts";

export type Labels = Readonly<Record<string, string>>;

/** Reads a selector: a comma-separated list of `label=value`, `label!=value` and `label`, all of which must hold. */
export function parseLabelSelector(text: string): (labels: Labels) => boolean {
  const rules = text.split(",").map((term) => {
    const match = /^\s*([^\s=!,]+)\s*(?:(!=|==?)\s*([^\s=!,]*))?\s*$/.exec(term);
    const [, label, operator, value] = match ?? [];
    if (label === undefined) {
      throw new NattoError(
        "BadRequest",
        `-l ${text}: "${term}" is not a label selector; write label=value, label!=value or label`,
      );
    }
    return (labels: Labels): boolean => {
      const found = Object.hasOwn(labels, label) ? labels[label] : undefined;
      if (operator === undefined) return found !== undefined;
      return operator === "!=" ? found !== value : found === value;
    };
  });
  return (labels) => rules.every((rule) => rule(labels));
}
