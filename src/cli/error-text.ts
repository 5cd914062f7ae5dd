/** Errors as the CLI prints them. Pure. */
import { describeError, NattoError } from "../errors.ts";

/**
 * The sentence of an error without the first wrong field, which errors about objects repeat at their end: where the fields are
 * listed below, once is enough.
 */
export function sentenceOf({ message, details }: NattoError): string {
  const [first] = details;
  const repeated = first ? message.indexOf(`: ${first.field}: `) : -1;
  return repeated < 0 ? message : message.slice(0, repeated);
}

/** The error for people: its sentence, then one line for each wrong field. */
export function errorText(error: NattoError): string {
  return describeError(new NattoError(error.code, sentenceOf(error), error.details));
}
