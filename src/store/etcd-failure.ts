/** What a failed call to etcd means: what to tell, and what may be tried next. Pure. */
import { status as Status } from "@grpc/grpc-js";
import { NattoError } from "../errors.ts";

/**
 * - `unsent`: the member was not reached, so nothing happened; another one may be.
 * - `unknown`: it was reached and did not finish; a write may or may not take place, even later.
 * - `login`: the token is not, or no longer, taken; one fresh login may help.
 * - `refused`: etcd has decided; asking again or elsewhere does not help.
 */
export interface EtcdFailure {
  readonly next: "unsent" | "unknown" | "login" | "refused";
  readonly error: NattoError;
}

/** The part of gRPC's ServiceError that is looked at. */
export interface RpcError {
  readonly code: number;
  readonly details: string;
}

export function isRpcError(thrown: unknown): thrown is Error & RpcError {
  if (!(thrown instanceof Error && "code" in thrown && "details" in thrown)) return false;
  return typeof thrown.code === "number" && typeof thrown.details === "string";
}

/** A failure that is noticed on this side, in the form of those that gRPC reports. */
export function rpcError(code: number, details: string): Error & RpcError {
  return Object.assign(new Error(details), { code, details });
}

/** `where`: for people, the member that was asked, such as `etcd member 10.0.0.1:2379`. */
export function judgeFailure(where: string, thrown: Error & RpcError): EtcdFailure {
  const text = thrown.details.replace(/^etcdserver: /, "");
  const rule = RULES.find(({ code, words }) => (code ?? thrown.code) === thrown.code && words.test(text));
  const { next, kind, remedy } = rule ?? fallback(thrown.code);
  const found = next === "unsent" ? `cannot reach ${where}: ${plain(text)}` : `${where}: ${text}`;
  return { next, error: new NattoError(kind, `${found}; ${remedy}`, [], thrown) };
}

/** What gRPC says of a connection that could not be made, without the words that gRPC puts around it. */
function plain(text: string): string {
  return text
    .replace(/^No connection established\. Last error: (Error: )?/, "")
    .replace(/[. ]*Resolution note: *$/, "")
    .replace(/^[0-9A-F]+:error:\w+:SSL routines:\w*:([^:]+):[\s\S]*$/, "$1")
    .trim();
}

interface Verdict {
  readonly next: EtcdFailure["next"];
  readonly kind: "Expired" | "NotFound" | "Unavailable" | "Environment" | "TooLarge";
  readonly remedy: string;
}

interface Rule extends Verdict {
  readonly code?: number;
  readonly words: RegExp;
}

/** etcd tells most of its errors apart only by their words; these are those of versions 3.4 to 3.6. */
const RULES: readonly Rule[] = [
  {
    code: Status.OUT_OF_RANGE,
    words: /revision/,
    next: "refused",
    kind: "Expired",
    remedy: "list again and watch from there",
  },
  {
    code: Status.NOT_FOUND,
    words: /requested lease not found/,
    next: "refused",
    kind: "NotFound",
    remedy: "its time is over; take another lease",
  },
  {
    words: /database space exceeded/,
    next: "refused",
    kind: "Unavailable",
    remedy:
      "etcd takes no writes (alarm NOSPACE): compact and defragment it, raise --quota-backend-bytes if need be, then run etcdctl alarm disarm",
  },
  {
    words: /corrupt/,
    next: "refused",
    kind: "Unavailable",
    remedy: "etcd has raised the alarm CORRUPT: replace the member that etcdctl alarm list names",
  },
  {
    words: /request is too large|message larger than max/,
    next: "refused",
    kind: "TooLarge",
    remedy: "make the object smaller, or raise --max-request-bytes of etcd",
  },
  {
    code: Status.UNAUTHENTICATED,
    words: /./,
    next: "login",
    kind: "Environment",
    remedy: "check the user and the password of the store",
  },
  {
    words: /revision of auth store is old|revision in header/,
    next: "login",
    kind: "Environment",
    remedy: "etcd's users have just been changed; try again",
  },
  {
    words: /authentication failed/,
    next: "refused",
    kind: "Environment",
    remedy: "check the user and the password of the store",
  },
  {
    words: /user name is empty/,
    next: "refused",
    kind: "Environment",
    remedy: "this etcd wants a user: add user=NAME to the address of the store, and a password",
  },
  {
    words: /authentication is not enabled/,
    next: "refused",
    kind: "Environment",
    remedy: "run etcdctl auth enable, or take the user out of the address of the store",
  },
  {
    code: Status.PERMISSION_DENIED,
    words: /./,
    next: "refused",
    kind: "Environment",
    remedy:
      "grant the user a role that reads and writes all keys of the prefix (etcdctl role grant-permission)",
  },
  {
    code: Status.UNAVAILABLE,
    words: /alert (bad certificate|certificate required|certificate unknown|unknown ca)/,
    next: "unsent",
    kind: "Environment",
    remedy:
      "etcd does not take this client's certificate: give cert and key from an authority that it trusts",
  },
  {
    code: Status.UNAVAILABLE,
    words: /certificate|self-signed|altnames|unable to verify/i,
    next: "unsent",
    kind: "Environment",
    remedy: "check that ca names the authority of etcd's certificates and that they name this host",
  },
  {
    code: Status.UNAVAILABLE,
    words: /before secure TLS connection|wrong version number/,
    next: "unsent",
    kind: "Unavailable",
    remedy: "if this member does not speak TLS, take tls, ca, cert and key out of the address of the store",
  },
  {
    code: Status.UNAVAILABLE,
    words: /No connection established|Name resolution failed|no leader/,
    next: "unsent",
    kind: "Unavailable",
    remedy: "check that etcd runs there, has a quorum, and whether it wants TLS (ca, cert, key)",
  },
];

function fallback(code: number): Verdict {
  switch (code) {
    case Status.DEADLINE_EXCEEDED:
      return { next: "unknown", kind: "Unavailable", remedy: "check that a majority of the members runs" };
    case Status.UNAVAILABLE:
    case Status.CANCELLED:
    case Status.INTERNAL:
    case Status.UNKNOWN:
    case Status.ABORTED:
    case Status.RESOURCE_EXHAUSTED:
      return { next: "unknown", kind: "Unavailable", remedy: "try again" };
    default:
      return {
        next: "refused",
        kind: "Environment",
        remedy: "check that this is an etcd of version 3.4 or newer",
      };
  }
}
