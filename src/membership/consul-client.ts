/**
 * Calls to an agent of Consul over its HTTP API: deadlines, TLS, ACL tokens, blocking queries. One call is one attempt; whoever follows or
 * reports goes on by itself, with a backoff.
 */
import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import type { z } from "zod";
import { type Backoff, backoffMs } from "../backoff.ts";
import { type Clock, SYSTEM_CLOCK } from "../clock.ts";
import { asNattoError, NattoError } from "../errors.ts";
import { readNamedBytes, readNamedFile } from "../named-file.ts";
import { pause } from "../store/pause.ts";
import { type ConsulSettings, TOKEN_VARIABLE } from "./consul-settings.ts";

/** What a follower is told: what stands there now, or why that is not known. */
export type ConsulNews<T> =
  | {
      readonly kind: "value";
      readonly value: T;
      /** The index went down: this Consul has another history than the one before, such as an older backup or none. */
      readonly rewound: boolean;
    }
  | { readonly kind: "trouble"; readonly error: NattoError };

export interface ConsulClient {
  /** For people: the address, without secrets. */
  readonly description: string;
  /** Throws `Unavailable`, `Environment` (token, certificates), `NotFound`, or `BadRequest` with Consul's own words. */
  put(path: string, body?: unknown): Promise<void>;
  /**
   * Tells what stands at a path, and again whenever that has changed, by blocking queries, until the signal aborts. Failures are told too, and it
   * goes on after them; it never throws.
   */
  follow<T>(
    path: string,
    shape: z.ZodType<T>,
    hear: (news: ConsulNews<T>) => void,
    signal: AbortSignal,
  ): Promise<void>;
  close(): void;
}

export interface ConsulClientOptions {
  readonly clock?: Clock;
  /** A number from 0 to 1, for the jitter of retries. */
  readonly random?: () => number;
}

/** How long a blocking query waits for a change: also how long a connection that has silently died may go unnoticed. */
const WAIT_MS = 10_000;
/** Consul lets a blocking query wait up to a sixteenth longer, so that not all come at once. */
const WAIT_JITTER = 1 / 16;
const BACKOFF: Backoff = { baseMs: 100, capMs: 3000 };
const MIN_GAP_MS = 50;
const MAX_WORDS = 300;

interface Answer {
  readonly status: number;
  readonly index: number;
  readonly text: string;
}

/** Nothing is sent before the first call. Throws `Environment` for files it cannot read. */
export function openConsulClient(settings: ConsulSettings, options: ConsulClientOptions = {}): ConsulClient {
  const { clock = SYSTEM_CLOCK, random = Math.random } = options;
  const exchange = makeExchange(settings, clock);
  const where = `Consul at ${settings.endpoint}`;

  const call = async (method: "GET" | "PUT", path: string, rest: CallOptions): Promise<Answer> => {
    const first = await exchange.send(method, path, rest);
    // A token that was replaced in its file is taken up without a restart.
    const retries = first.status === 403 && exchange.readToken();
    const answer = retries ? await exchange.send(method, path, rest) : first;
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw judgeStatus(where, answer.status, answer.text);
  };

  return {
    description: `consul://${settings.endpoint}`,
    put: async (path, body) => {
      await call("PUT", path, { body, limitMs: settings.deadlineMs });
    },
    follow: async (path, shape, hear, signal) => {
      /** To wait from; 0 asks for what is there now. */
      let index = 0;
      let highest = 0;
      let failures = 0;
      while (!signal.aborted) {
        try {
          const waiting = index > 0 ? `?index=${index}&wait=${WAIT_MS}ms` : "";
          const waitMs = index > 0 ? WAIT_MS * (1 + WAIT_JITTER) : 0;
          const limitMs = settings.deadlineMs + waitMs;
          const answer = await call("GET", `${path}${waiting}`, { limitMs, signal });
          if (signal.aborted) return;
          const value = parse(where, path, shape, answer);
          const unchanged = index > 0 && answer.index === index;
          const rewound = answer.index < highest;
          highest = answer.index;
          index = rewound ? 0 : answer.index;
          failures = 0;
          if (unchanged) continue;
          hear({ kind: "value", value, rewound });
          // Changes that come in a burst are told together.
          await pause(MIN_GAP_MS, signal, clock);
        } catch (thrown) {
          if (signal.aborted) return;
          failures++;
          // What was missed meanwhile is unknown, perhaps Consul is another one: begin anew.
          index = 0;
          hear({ kind: "trouble", error: asNattoError(thrown) });
          await pause(backoffMs(BACKOFF, failures, random()), signal, clock);
        }
      }
    },
    close: exchange.close,
  };
}

interface CallOptions {
  readonly body?: unknown;
  readonly limitMs: number;
  readonly signal?: AbortSignal;
}

/** One exchange of request and answer, with the token and the certificates. */
function makeExchange({ endpoint, tls, token }: ConsulSettings, clock: Clock) {
  const tlsFiles = tls && {
    ...(tls.ca === undefined ? {} : { ca: readNamedBytes(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readNamedBytes(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readNamedBytes(tls.key) }),
  };
  const agent = tlsFiles
    ? new TlsAgent({ keepAlive: true, ...tlsFiles })
    : new PlainAgent({ keepAlive: true });
  let secret: string | undefined;
  const readToken = (): boolean => {
    const before = secret;
    if (token) secret = "file" in token ? readNamedFile(token.file).trim() : token.value;
    return secret !== before;
  };
  readToken();

  const send = (method: string, path: string, { body, limitMs, signal }: CallOptions): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const headers: Record<string, string | number> = {
        ...(secret ? { "x-consul-token": secret } : {}),
        ...(payload === undefined
          ? { "content-length": 0 }
          : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
      };
      const url = `${tls ? "https" : "http"}://${endpoint}${path}`;
      const options = { method, agent, headers, ...(signal ? { signal } : {}) };
      const outgoing = tls ? tlsRequest(url, options) : plainRequest(url, options);
      const cancel = clock.after(limitMs, () => {
        outgoing.destroy(new Error(`no answer within ${Math.round(limitMs)} ms`));
      });
      const fail = (cause: Error): void => {
        cancel();
        reject(judgeCause(`Consul at ${endpoint}`, cause));
      };
      outgoing.on("error", fail);
      outgoing.on("response", (incoming) => {
        readAnswer(incoming).then((answer) => {
          cancel();
          resolve(answer);
        }, fail);
      });
      outgoing.end(payload);
    });
  return { send, readToken, close: () => agent.destroy() };
}

async function readAnswer(incoming: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const index = Number(incoming.headers["x-consul-index"] ?? 0);
  return { status: incoming.statusCode ?? 0, index, text: Buffer.concat(chunks).toString("utf8") };
}

function parse<T>(where: string, path: string, shape: z.ZodType<T>, { index, text }: Answer): T {
  try {
    if (!(index >= 1)) throw new Error("no X-Consul-Index");
    return shape.parse(JSON.parse(text));
  } catch (cause) {
    const found = text.slice(0, MAX_WORDS);
    throw new NattoError(
      "Unavailable",
      `${where} answers ${path} with what Natto does not understand: ${found}; is it a Consul?`,
      [],
      cause,
    );
  }
}

/** What an answer that is no success means. */
function judgeStatus(where: string, status: number, text: string): NattoError {
  const words = text.trim().slice(0, MAX_WORDS) || "(no words)";
  if (status === 403) {
    const remedy = `give a token that may do this (tokenFile=FILE or ${TOKEN_VARIABLE}; docs/membership.md has the policies)`;
    return new NattoError("Environment", `${where} refuses: ${words}; ${remedy}`);
  }
  if (status === 404) return new NattoError("NotFound", `${where}: ${words}`);
  if (status >= 500 || status === 429) {
    return new NattoError(
      "Unavailable",
      `${where} cannot answer now (${status}): ${words}; will be tried again`,
    );
  }
  return new NattoError(
    "BadRequest",
    `${where} answers ${status}: ${words}; is this the port of its HTTP API?`,
  );
}

/** What a call that got no answer means. Node tells faults of certificates by codes such as CERT_HAS_EXPIRED. */
function judgeCause(
  where: string,
  cause: Error & { readonly code?: unknown; readonly reason?: unknown },
): NattoError {
  const code = typeof cause.code === "string" ? cause.code : "";
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(code)) {
    const remedy =
      "check that ca names the authority of Consul's certificate, that it names this host, and give cert and key";
    // OpenSSL's own errors have their words in `reason`, and where in OpenSSL they came up in the message.
    const words = typeof cause.reason === "string" ? cause.reason : cause.message;
    return new NattoError("Environment", `${where}: ${words} (${code}); ${remedy}`, [], cause);
  }
  const why = cause.message || code || "the connection failed";
  const remedy = "check that it runs, and whether it wants TLS (ca, cert, key); will be tried again";
  return new NattoError("Unavailable", `${where} does not answer: ${why}; ${remedy}`, [], cause);
}
