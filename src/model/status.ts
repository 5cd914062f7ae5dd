/**
 * Errors on the wire: a Kubernetes `Status` object, to which each cause adds a `remedy`. The server writes it, the HTTP store reads
 * it back into the same NattoError.
 */
import { z } from "zod";
import { ERRORS, type ErrorCode, NattoError } from "../errors.ts";

export interface Status {
  readonly apiVersion: "v1";
  readonly kind: "Status";
  readonly status: "Failure";
  readonly reason: ErrorCode;
  readonly message: string;
  readonly details: {
    readonly causes: readonly { readonly field: string; readonly message: string; readonly remedy: string }[];
  };
  /** The HTTP status. */
  readonly code: number;
}

export function statusOf(error: NattoError): Status {
  return {
    apiVersion: "v1",
    kind: "Status",
    status: "Failure",
    reason: error.code,
    message: error.message,
    details: { causes: error.details.map(({ field, message, remedy }) => ({ field, message, remedy })) },
    code: ERRORS[error.code].http,
  };
}

const statusSchema = z.object({
  kind: z.literal("Status"),
  reason: z.custom<ErrorCode>((reason) => typeof reason === "string" && Object.hasOwn(ERRORS, reason)),
  message: z.string(),
  details: z
    .object({
      causes: z
        .array(z.object({ field: z.string(), message: z.string(), remedy: z.string().default("") }))
        .default([]),
    })
    .default({ causes: [] }),
});

/** The error that a Status tells of; undefined when the value is none of ours. */
export function errorOfStatus(value: unknown): NattoError | undefined {
  const parsed = statusSchema.safeParse(value);
  if (!parsed.success) return undefined;
  return new NattoError(parsed.data.reason, parsed.data.message, parsed.data.details.causes);
}
