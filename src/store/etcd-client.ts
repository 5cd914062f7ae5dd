/**
 * Calls to a cluster of etcd: one connection per member, the next member when one fails, a deadline for each call, a login when there is a user.
 * The connections reconnect by themselves, after at most a second.
 */
import {
  type ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  credentials,
  Metadata,
  status as Status,
} from "@grpc/grpc-js";
import { asNattoError, NattoError } from "../errors.ts";
import { readNamedBytes } from "../named-file.ts";
import { type EtcdFailure, isRpcError, judgeFailure, rpcError } from "./etcd-failure.ts";
import { AUTHENTICATE, type Method, WATCH, type WatchRequest, type WatchResponse } from "./etcd-rpc.ts";
import { describeSettings, type EtcdSettings, type EtcdTls } from "./etcd-settings.ts";
import { pause } from "./pause.ts";

/** One member and the connection to it. */
export interface Member {
  readonly endpoint: string;
  readonly client: Client;
}

export type WatchCall = ClientDuplexStream<WatchRequest, WatchResponse>;

export type Outcome<T> =
  | { readonly status: "answered"; readonly answer: T }
  /** The call was sent, and it is not known whether it took place or still will. */
  | { readonly status: "unknown"; readonly error: NattoError };

export interface EtcdClient {
  readonly description: string;
  /** So many attempts in a row give each member its turn, and the first one a second. */
  readonly attempts: number;
  /** How long a call goes on from member to member: long enough for an election. */
  readonly patienceMs: number;
  /** A call that may be repeated: whatever fails on the way is tried on the next member. Throws NattoErrors. */
  read<Q, A>(method: Method<Q, A>, request: Q): Promise<A>;
  /** A call that must not be repeated blindly: tried on another member only if the one before was not reached. */
  write<Q, A>(method: Method<Q, A>, request: Q): Promise<Outcome<A>>;
  /** The same on one member only, without repetition. Throws what `failed` takes. */
  readAt<Q, A>(member: Member, method: Method<Q, A>, request: Q): Promise<A>;
  /** The member that is asked at present. */
  member(): Member;
  /** Opens the stream of a watch. Throws what `failed` takes. */
  openWatch(member: Member): Promise<WatchCall>;
  /** Turns what was thrown into a failure, and turns away from the member if that may help. */
  failed(member: Member, thrown: unknown): EtcdFailure;
  readonly closing: AbortSignal;
  close(): void;
}

/** How many deadlines make up the patience of a call. */
const PATIENCE = 4;
/** etcd makes logging in slow on purpose (bcrypt), the more so when many do at once. */
const LOGIN_DEADLINES = 10;
const ROUND_MS = { first: 25, max: 250 };

const CHANNEL_OPTIONS: ClientOptions = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // etcd hangs up on clients that ping more often than every five seconds.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 3_000,
  "grpc.max_receive_message_length": -1,
  "grpc.enable_retries": 0,
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
};

/** `startAt`: the index of the member to begin with. Nothing is sent before the first call. Throws `Environment` for files it cannot read. */
export function openEtcdClient(settings: EtcdSettings, startAt: number): EtcdClient {
  const { deadlineMs } = settings;
  const description = describeSettings(settings);
  const channel = channelCredentials(settings.tls);
  const members = settings.endpoints.map(
    (endpoint): Member => ({ endpoint, client: new Client(endpoint, channel, CHANNEL_OPTIONS) }),
  );
  const login = makeLogin(settings);
  const closing = new AbortController();
  let at = startAt % members.length;

  function failed(member: Member, thrown: unknown): EtcdFailure {
    if (closing.signal.aborted) return { next: "refused", error: closedError(description) };
    if (!isRpcError(thrown)) return { next: "refused", error: asNattoError(thrown) };
    const failure = judgeFailure(`etcd member ${member.endpoint}`, thrown);
    if (failure.next === "login" && settings.login === undefined) return { ...failure, next: "refused" };
    // Whoever fails first turns; those that fail later on the same member find that done.
    const turns = failure.next === "unsent" || failure.next === "unknown";
    if (turns && member === members[at]) at = (at + 1) % members.length;
    return failure;
  }

  const client: CallingClient = {
    description,
    attempts: members.length + 1,
    patienceMs: PATIENCE * deadlineMs,
    member: () => members[at]!,
    readAt: async (member, method, request) => {
      const token = await login.token(member);
      try {
        return await exchange(member, method, request, metadataWith(token), deadlineMs);
      } catch (thrown) {
        if (isRpcError(thrown) && judgeFailure("", thrown).next === "login") login.forget(token);
        throw thrown;
      }
    },
    openWatch: async (member) => {
      const { path, serialize, deserialize } = WATCH;
      const metadata = metadataWith(await login.token(member));
      return member.client.makeBidiStreamRequest(path, serialize, deserialize, metadata, {});
    },
    failed,
    closing: closing.signal,
  };
  return {
    ...client,
    read: async (method, request) => {
      const outcome = await call(client, members.length, method, request, true);
      if (outcome.status === "answered") return outcome.answer;
      throw outcome.error;
    },
    write: (method, request) => call(client, members.length, method, request, false),
    close: () => {
      closing.abort();
      for (const { client: connection } of members) connection.close();
    },
  };
}

type CallingClient = Omit<EtcdClient, "read" | "write" | "close">;

/** Tries one member after the other until one answers, etcd has decided, or the patience ends. */
async function call<Q, A>(
  client: CallingClient,
  size: number,
  method: Method<Q, A>,
  request: Q,
  repeatable: boolean,
): Promise<Outcome<A>> {
  const end = performance.now() + client.patienceMs;
  let renewed = false;
  for (let attempt = 1; ; attempt++) {
    const member = client.member();
    try {
      if (client.closing.aborted) throw closedError(client.description);
      return { status: "answered", answer: await client.readAt(member, method, request) };
    } catch (thrown) {
      const { next, error } = client.failed(member, thrown);
      if (next === "unknown" && !repeatable) return { status: "unknown", error };
      if (next === "refused" || (next === "login" && renewed)) throw error;
      if (next === "login") renewed = true;
      else if (attempt >= size && (!error.transient || performance.now() > end)) throw error;
      // After each round, so that members that refuse at once are not asked without end.
      else if (attempt % size === 0) {
        await pause(Math.min(ROUND_MS.max, ROUND_MS.first * attempt), client.closing);
      }
    }
  }
}

interface Login {
  /** The token to send to any member, fetched from this one if there is none; undefined when there is no user. */
  token(member: Member): Promise<string | undefined>;
  /** Has the next call fetch a token, unless another call has done so already. */
  forget(token: string | undefined): void;
}

function makeLogin({ login, deadlineMs }: EtcdSettings): Login {
  let fetching: Promise<string> | undefined;
  let present: string | undefined;
  return {
    token: async (member) => {
      if (login === undefined || present !== undefined) return present;
      const request = { name: login.user, password: login.password };
      fetching ??= exchange(
        member,
        AUTHENTICATE,
        request,
        metadataWith(undefined),
        LOGIN_DEADLINES * deadlineMs,
      )
        .then(({ token }) => {
          present = token;
          return token;
        })
        .finally(() => {
          fetching = undefined;
        });
      return fetching;
    },
    forget: (token) => {
      if (token === present) present = undefined;
    },
  };
}

function metadataWith(token: string | undefined): Metadata {
  const metadata = new Metadata();
  // A member that has lost its leader refuses instead of leaving us waiting (clientv3.WithRequireLeader).
  metadata.set("hasleader", "true");
  if (token !== undefined) metadata.set("token", token);
  return metadata;
}

/** One call to one member: a question, and one answer. Rejects with gRPC's ServiceError. */
function exchange<Q, A>(
  { client }: Member,
  { path, streams, serialize, deserialize }: Method<Q, A>,
  request: Q,
  metadata: Metadata,
  deadlineMs: number,
): Promise<A> {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + deadlineMs };
    if (streams) {
      const stream = client.makeBidiStreamRequest(path, serialize, deserialize, metadata, options);
      stream.on("data", resolve);
      stream.on("error", reject);
      stream.on("end", () => reject(rpcError(Status.UNAVAILABLE, "the stream ended without an answer")));
      stream.end(request);
      return;
    }
    client.makeUnaryRequest(path, serialize, deserialize, request, metadata, options, (error, answer) => {
      if (error === null && answer !== undefined) resolve(answer);
      else reject(error ?? new Error("an answer without a message"));
    });
  });
}

function closedError(description: string): NattoError {
  return new NattoError("Unavailable", `the store ${description} was closed; open it again`);
}

function channelCredentials(tls: EtcdTls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const [ca, key, cert] = [tls.ca, tls.key, tls.cert].map((path) =>
    path === undefined ? null : readNamedBytes(path),
  );
  try {
    return credentials.createSsl(ca, key, cert);
  } catch (thrown) {
    const { message } = asNattoError(thrown);
    const files = [tls.ca, tls.cert, tls.key].filter((path) => path !== undefined).join(", ");
    throw new NattoError(
      "Environment",
      `cannot use ${files} for TLS to etcd: ${message}; give PEM files that belong together`,
      [],
      thrown,
    );
  }
}
