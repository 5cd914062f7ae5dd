/**
 * Every error that Natto tells a person or a program about: one table, stable codes.
 * The same text appears in the API, the CLI and the status of objects.
 */

interface ErrorKind {
  /** HTTP status with which the API answers. */
  readonly http: number;
  /** Exit code of the CLI. */
  readonly exit: number;
  /** Whether the same call may succeed later without being changed. */
  readonly transient: boolean;
}

export const ERRORS = {
  /** The call itself is malformed: not JSON, wrong path, unknown option. */
  BadRequest: { http: 400, exit: 2, transient: false },
  /** The object breaks a rule of its schema; `details` names the fields. */
  Invalid: { http: 422, exit: 2, transient: false },
  /** The object breaks a rule that involves other objects, such as two pools that overlap. */
  Rejected: { http: 422, exit: 2, transient: false },
  /** Who asks has not shown that they may. */
  Forbidden: { http: 403, exit: 3, transient: false },
  NotFound: { http: 404, exit: 4, transient: false },
  AlreadyExists: { http: 409, exit: 5, transient: false },
  /** The object has changed since it was read: read it again and redo the change. */
  Conflict: { http: 409, exit: 5, transient: false },
  /** The writer's term is over (see `Fence` in `store/store.ts`): somebody else leads now. */
  Fenced: { http: 409, exit: 5, transient: false },
  /** What is stored under the object's key is no object; the others are not touched by it. */
  Damaged: { http: 500, exit: 9, transient: false },
  /** The revision asked for is no longer kept: list again, then watch from the list's revision. */
  Expired: { http: 410, exit: 6, transient: false },
  /** A change would break more than was allowed. */
  TooRisky: { http: 409, exit: 10, transient: false },
  TooLarge: { http: 413, exit: 2, transient: false },
  /** The store or the server cannot be reached or cannot answer now. */
  Unavailable: { http: 503, exit: 7, transient: true },
  /** A program, a privilege or a kernel feature is missing on this machine. */
  Environment: { http: 500, exit: 8, transient: false },
  Internal: { http: 500, exit: 1, transient: false },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** One thing that is wrong with one field of an object. */
export interface FieldError {
  /** Path in the object, such as `spec.sources[2]`. */
  readonly field: string;
  /** What was found and what is allowed. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** An error with a stable code, for people and programs. Anything else that is thrown is a defect. */
export class NattoError extends Error {
  readonly code: ErrorCode;
  readonly details: readonly FieldError[];

  constructor(code: ErrorCode, message: string, details: readonly FieldError[] = [], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "NattoError";
    this.code = code;
    this.details = details;
  }

  get transient(): boolean {
    return ERRORS[this.code].transient;
  }
}

/** Turns whatever was thrown into a NattoError; what is not one already becomes `Internal`. */
export function asNattoError(thrown: unknown): NattoError {
  if (thrown instanceof NattoError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new NattoError("Internal", message, [], thrown);
}

/** One line per fault: the sentence, then each field with its remedy. */
export function describeError(error: NattoError): string {
  const lines = error.details.map((d) => `  ${d.field}: ${d.message}; ${d.remedy}`);
  return [error.message, ...lines].join("\n");
}
