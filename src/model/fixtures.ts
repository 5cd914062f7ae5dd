/** What tests of the kinds share. */
import assert from "node:assert/strict";
import { NattoError } from "../errors.ts";
import { validateObject } from "./validate.ts";

/** The faults of an object, as `field: message; remedy`; none when it is valid. */
export function faultsOf(object: unknown): string[] {
  try {
    validateObject(object);
  } catch (error) {
    assert.ok(error instanceof NattoError);
    assert.equal(error.code, "Invalid");
    return error.details.map((d) => `${d.field}: ${d.message}; ${d.remedy}`);
  }
  return [];
}
