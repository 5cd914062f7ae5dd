/** What an `etcd://` URL says: members, key prefix, TLS, user, deadline. */
import { NattoError } from "../errors.ts";

export interface EtcdTls {
  /** Paths of PEM files. Without `ca` the authorities that Node trusts are used. */
  readonly ca?: string | undefined;
  /** The client's own certificate and key, for mutual TLS. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface EtcdSettings {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[];
  /** What all keys begin with: ends in a slash. */
  readonly prefix: string;
  readonly tls?: EtcdTls | undefined;
  readonly login?: { readonly user: string; readonly password: string } | undefined;
  /** How long one call to one member may take. */
  readonly deadlineMs: number;
}

export const DEFAULT_PORT = 2379;
export const DEFAULT_PREFIX = "/natto";
export const DEFAULT_DEADLINE_MS = 500;

const PARAMETERS = ["tls", "ca", "cert", "key", "user", "passwordFile", "deadlineMs"] as const;
type Parameter = (typeof PARAMETERS)[number];

/** Environment variables that stand for what should not appear in a list of processes. */
export const USER_VARIABLE = "NATTO_ETCD_USER";
export const PASSWORD_VARIABLE = "NATTO_ETCD_PASSWORD";

const FORM =
  "write it like etcd://10.0.0.1:2379,10.0.0.2:2379/natto?ca=FILE&cert=FILE&key=FILE&user=NAME; docs/stores.md describes it";

/**
 * Reads `etcd://[user[:password]@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?tls=true&ca=…&cert=…&key=…&user=…&passwordFile=…&deadlineMs=…]`.
 * User and password may also come from the environment, the password from a file, which `readFile` reads. Throws `BadRequest`
 * that never shows a password, and what `readFile` throws.
 */
export function etcdSettings(
  url: string,
  environment: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): EtcdSettings {
  const match = /^etcd:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(url);
  if (match === null) throw refused("store etcd://…: not an address of etcd");
  const [, userInfo = "", hosts = "", path = "", query = ""] = match;
  const given = parametersOf(query);
  return {
    endpoints: endpointsOf(hosts),
    prefix: prefixOf(decoded(path, "the prefix")),
    tls: tlsOf(given),
    login: loginOf(userInfo, given, environment, readFile),
    deadlineMs: deadlineOf(given.deadlineMs),
  };
}

/** The settings as a URL, without user and password. */
export function describeSettings({ endpoints, prefix }: EtcdSettings): string {
  return `etcd://${endpoints.join(",")}${prefix.slice(0, -1)}`;
}

function endpointsOf(hosts: string): readonly string[] {
  const endpoints = hosts.split(",").map((host) => {
    const parts = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(host);
    const port = Number(parts?.[2] ?? DEFAULT_PORT);
    if (parts === null || port < 1 || port > 65_535) {
      throw refused(`store etcd://${hosts}: found "${host}", which is not HOST or HOST:PORT`);
    }
    return `${parts[1]}:${port}`;
  });
  const twice = endpoints.find((endpoint, i) => endpoints.indexOf(endpoint) !== i);
  if (twice !== undefined) throw refused(`store etcd://${hosts}: ${twice} is named twice`);
  return endpoints;
}

function prefixOf(path: string): string {
  const prefix = path.replace(/\/+$/, "") || DEFAULT_PREFIX;
  if (/\/\/|\p{Cc}/u.test(prefix)) {
    throw refused(`store etcd://…${path}: the key prefix has an empty part or a control character`);
  }
  return `${prefix}/`;
}

function parametersOf(query: string): Readonly<Partial<Record<Parameter, string>>> {
  const given: Partial<Record<Parameter, string>> = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const known = PARAMETERS.find((parameter) => parameter === name);
    if (known === undefined) {
      throw refused(`store etcd://…: unknown parameter "${name}"; known are ${PARAMETERS.join(", ")}`);
    }
    if (value === "" || given[known] !== undefined) {
      throw refused(`store etcd://…: parameter ${name} must have one value`);
    }
    given[known] = value;
  }
  return given;
}

function tlsOf({ tls, ca, cert, key }: Readonly<Partial<Record<Parameter, string>>>): EtcdTls | undefined {
  if (tls !== undefined && tls !== "true" && tls !== "false") {
    throw refused(`store etcd://…: tls: found "${tls}", allowed are true and false`);
  }
  if ((cert === undefined) !== (key === undefined)) {
    throw refused("store etcd://…: cert and key belong together; give both or neither");
  }
  const files = ca !== undefined || cert !== undefined;
  if (tls === "false" && files) throw refused("store etcd://…: tls=false contradicts ca, cert and key");
  return files || tls === "true" ? { ca, cert, key } : undefined;
}

function loginOf(
  userInfo: string,
  given: Readonly<Partial<Record<Parameter, string>>>,
  environment: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): EtcdSettings["login"] {
  const colon = userInfo.indexOf(":");
  const name = colon < 0 ? userInfo : userInfo.slice(0, colon);
  const user = given.user ?? (decoded(name, "the user") || environment[USER_VARIABLE]);
  if (!user) {
    if (given.passwordFile === undefined && colon < 0) return undefined;
    throw refused(`store etcd://…: a password without a user; add user=NAME or set ${USER_VARIABLE}`);
  }
  const password =
    colon >= 0
      ? decoded(userInfo.slice(colon + 1), "the password")
      : given.passwordFile !== undefined
        ? readFile(given.passwordFile).replace(/\r?\n$/, "")
        : environment[PASSWORD_VARIABLE];
  if (!password) {
    throw refused(
      `store etcd://…: user ${user} without a password; set ${PASSWORD_VARIABLE} or give passwordFile=FILE`,
    );
  }
  return { user, password };
}

function deadlineOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_DEADLINE_MS;
  const ms = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (ms >= 10 && ms <= 60_000) return ms;
  throw refused(
    `store etcd://…: deadlineMs: found "${text}", allowed are whole numbers from 10 to 60000 (milliseconds)`,
  );
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw refused(`store etcd://…: ${what} is not percent-encoded as in other URLs`);
  }
}

function refused(message: string): NattoError {
  return new NattoError("BadRequest", `${message}; ${FORM}`);
}
