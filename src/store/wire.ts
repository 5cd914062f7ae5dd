/** Fences and transactions on the wire between the HTTP store and the server, beside the objects themselves. */
import { z } from "zod";
import { NattoError } from "../errors.ts";
import { isKind, type Kind } from "../model/kinds.ts";
import { checkSchema, validateObject } from "../model/validate.ts";
import type { Fence, StoreChange } from "./store.ts";

/** The header of a write that carries its fence, as JSON. */
export const FENCE_HEADER = "natto-fence";
/** Where several changes are posted, under the path of the API group. */
export const TRANSACTIONS = "transactions";

const kindField = z.custom<Kind>(isKind, "is no kind of Natto's; correct it");

const keySchema = z.strictObject({
  kind: kindField,
  namespace: z.string().optional(),
  name: z.string().min(1),
});

const fenceSchema = z.strictObject({ key: keySchema, uid: z.string(), generation: z.number().int() });

const transactionSchema = z.strictObject({
  changes: z.array(
    z.discriminatedUnion("action", [
      z.strictObject({ action: z.enum(["create", "update", "updateStatus", "restore"]), draft: z.unknown() }),
      z.strictObject({
        action: z.literal("delete"),
        key: keySchema,
        resourceVersion: z.string().optional(),
      }),
    ]),
  ),
});

export function fenceText(fence: Fence): string {
  return JSON.stringify(fence);
}

/** Throws `BadRequest`. */
export function fenceFrom(text: string): Fence {
  try {
    return checkSchema(fenceSchema, JSON.parse(text));
  } catch (thrown) {
    throw new NattoError(
      "BadRequest",
      `header ${FENCE_HEADER}: found "${text.slice(0, 80)}"; write a fence as JSON, with key, uid and generation`,
      [],
      thrown,
    );
  }
}

export function transactionBody(changes: readonly StoreChange[]): object {
  return { changes };
}

/** The changes of a body, each draft checked and with its defaults. Throws `Invalid`, `TooLarge`. */
export function changesFrom(body: unknown): readonly StoreChange[] {
  return checkSchema(transactionSchema, body).changes.map((change) =>
    change.action === "delete" ? change : { action: change.action, draft: validateObject(change.draft) },
  );
}
