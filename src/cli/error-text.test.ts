import assert from "node:assert/strict";
import { test } from "node:test";
import { NattoError } from "../errors.ts";
import { errorText } from "./error-text.ts";

const FAULT = { field: "spec.cidrs", message: "is empty", remedy: "list one" };

test("a field that is listed is not told twice", () => {
  const error = new NattoError("Invalid", "AddressPool p is invalid: spec.cidrs: is empty; list one", [
    FAULT,
  ]);
  assert.equal(errorText(error), "AddressPool p is invalid\n  spec.cidrs: is empty; list one");
});

test("a sentence without fields, or about something else, is printed as it is", () => {
  const sentence = "p: spec.cidrs: is empty";
  assert.equal(errorText(new NattoError("NotFound", sentence)), sentence);
  const other = new NattoError("Invalid", "not so", [FAULT]);
  assert.equal(errorText(other), "not so\n  spec.cidrs: is empty; list one");
});
