/** The calls of etcd's v3 API (`etcd.proto`) with their types: what goes over the wire, nothing of what it means. */
import { fileURLToPath } from "node:url";
import { loadSync, type MethodDefinition } from "@grpc/proto-loader";

/** 64-bit integers travel as decimal text; revisions fit into a number, so they are turned into one where they are used. */
type Int64 = string;
type Bytes = Buffer;

export interface Header {
  readonly revision: Int64;
}

export interface KeyValue {
  readonly key: Bytes;
  readonly create_revision: Int64;
  readonly mod_revision: Int64;
  readonly value: Bytes;
}

export interface RangeRequest {
  readonly key: Bytes;
  readonly range_end?: Bytes;
  readonly limit?: number;
  readonly revision?: number;
  readonly keys_only?: boolean;
  readonly count_only?: boolean;
  readonly min_mod_revision?: number;
}

export interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: Int64;
}

export interface PutRequest {
  readonly key: Bytes;
  readonly value: Bytes;
  /** The key is bound to this lease. */
  readonly lease?: Int64;
  /** The key stays bound to the lease that it has. Refused when there is no such key. */
  readonly ignore_lease?: boolean;
}

export interface TxnRequest {
  readonly compare: readonly {
    readonly result: "EQUAL";
    readonly target: "MOD";
    readonly key: Bytes;
    readonly mod_revision: number;
  }[];
  readonly success: readonly (
    | { readonly request_put: PutRequest }
    | { readonly request_delete_range: { readonly key: Bytes } }
  )[];
}

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
}

export interface WatchRequest {
  readonly create_request: {
    readonly key: Bytes;
    readonly range_end?: Bytes;
    readonly start_revision: number;
    readonly progress_notify: boolean;
    readonly prev_kv: boolean;
    readonly fragment: boolean;
  };
}

export interface WatchResponse {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: Int64;
  readonly cancel_reason: string;
  /** More of the same answer follows in the next message. */
  readonly fragment: boolean;
  readonly events: readonly Event[];
}

export interface Event {
  readonly type: "PUT" | "DELETE";
  readonly kv: KeyValue;
  /** Absent when there was none, and when it has been compacted. */
  readonly prev_kv: KeyValue | null;
}

export interface LeaseRequest {
  readonly ID: Int64;
}

export interface LeaseResponse {
  readonly header: Header;
  readonly ID: Int64;
  /** Seconds; 0: there is no such lease any more. */
  readonly TTL: Int64;
}

/** One call: its path and how its messages are written and read. */
export interface Method<Request, Response> {
  readonly path: string;
  /** Whether question and answer travel on a stream of their own. */
  readonly streams: boolean;
  readonly serialize: (request: Request) => Buffer;
  readonly deserialize: (bytes: Buffer) => Response;
}

const DEFINITIONS = loadSync(fileURLToPath(new URL("etcd.proto", import.meta.url)), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
});

export const RANGE = method<RangeRequest, RangeResponse>("KV", "Range");
export const TXN = method<TxnRequest, TxnResponse>("KV", "Txn");
export const COMPACT = method<{ readonly revision: number }, { readonly header: Header }>("KV", "Compact");
export const WATCH = method<WatchRequest, WatchResponse>("Watch", "Watch");
export const LEASE_GRANT = method<{ readonly TTL: number }, LeaseResponse>("Lease", "LeaseGrant");
export const LEASE_REVOKE = method<LeaseRequest, { readonly header: Header }>("Lease", "LeaseRevoke");
export const LEASE_KEEP_ALIVE = method<LeaseRequest, LeaseResponse>("Lease", "LeaseKeepAlive");
export const AUTHENTICATE = method<
  { readonly name: string; readonly password: string },
  { readonly token: string }
>("Auth", "Authenticate");

function method<Request extends object, Response extends object>(
  service: string,
  name: string,
): Method<Request, Response> {
  const definition = DEFINITIONS[`etcdserverpb.${service}`] as Readonly<
    Record<string, MethodDefinition<object, object>>
  >;
  const { path, requestStream, requestSerialize, responseDeserialize } = definition[name]!;
  return {
    path,
    streams: requestStream,
    serialize: requestSerialize,
    deserialize: (bytes) => responseDeserialize(bytes) as Response,
  };
}
