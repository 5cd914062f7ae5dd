/** What an `etcd://` URL says: members, key prefix, TLS, user, deadline. */
import { TLS_PARAMETERS, type TlsFiles, type UrlParameters, urlReader } from "../url-settings.ts";

export type EtcdTls = TlsFiles;

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

const PARAMETERS = [...TLS_PARAMETERS, "user", "passwordFile", "deadlineMs"] as const;
type Parameters = UrlParameters<(typeof PARAMETERS)[number]>;

/** Environment variables that stand for what should not appear in a list of processes. */
export const USER_VARIABLE = "NATTO_ETCD_USER";
export const PASSWORD_VARIABLE = "NATTO_ETCD_PASSWORD";

const FORM =
  "write it like etcd://10.0.0.1:2379,10.0.0.2:2379/natto?ca=FILE&cert=FILE&key=FILE&user=NAME; docs/stores.md describes it";
const url = urlReader("store etcd://…", FORM);

/**
 * Reads `etcd://[user[:password]@]HOST[:PORT][,HOST[:PORT]…][/PREFIX][?tls=true&ca=…&cert=…&key=…&user=…&passwordFile=…&deadlineMs=…]`.
 * User and password may also come from the environment, the password from a file, which `readFile` reads. Throws `BadRequest`
 * that never shows a password, and what `readFile` throws.
 */
export function etcdSettings(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): EtcdSettings {
  const match = /^etcd:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(text);
  if (match === null) throw url.refused("not an address of etcd");
  const [, userInfo = "", hosts = "", path = "", query = ""] = match;
  const given = url.parameters(query, PARAMETERS);
  return {
    endpoints: endpointsOf(hosts),
    prefix: prefixOf(url.decoded(path, "the prefix")),
    tls: url.tls(given),
    login: loginOf(userInfo, given, environment, readFile),
    deadlineMs: url.deadlineMs(given.get("deadlineMs"), DEFAULT_DEADLINE_MS),
  };
}

/** The settings as a URL, without user and password. */
export function describeSettings({ endpoints, prefix }: EtcdSettings): string {
  return `etcd://${endpoints.join(",")}${prefix.slice(0, -1)}`;
}

function endpointsOf(hosts: string): readonly string[] {
  const endpoints = hosts.split(",").map((host) => url.endpoint(host, DEFAULT_PORT));
  const twice = endpoints.find((endpoint, i) => endpoints.indexOf(endpoint) !== i);
  if (twice !== undefined) throw url.refused(`${twice} is named twice`);
  return endpoints;
}

function prefixOf(path: string): string {
  const prefix = path.replace(/\/+$/, "") || DEFAULT_PREFIX;
  if (/\/\/|\p{Cc}/u.test(prefix)) {
    throw url.refused(`the key prefix ${path} has an empty part or a control character`);
  }
  return `${prefix}/`;
}

function loginOf(
  userInfo: string,
  given: Parameters,
  environment: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
): EtcdSettings["login"] {
  const passwordFile = given.get("passwordFile");
  const colon = userInfo.indexOf(":");
  const name = colon < 0 ? userInfo : userInfo.slice(0, colon);
  const user = given.get("user") ?? (url.decoded(name, "the user") || environment[USER_VARIABLE]);
  if (!user) {
    if (passwordFile === undefined && colon < 0) return undefined;
    throw url.refused(`a password without a user; add user=NAME or set ${USER_VARIABLE}`);
  }
  const password =
    colon >= 0
      ? url.decoded(userInfo.slice(colon + 1), "the password")
      : passwordFile !== undefined
        ? readFile(passwordFile).replace(/\r?\n$/, "")
        : environment[PASSWORD_VARIABLE];
  if (!password) {
    throw url.refused(`user ${user} without a password; set ${PASSWORD_VARIABLE} or give passwordFile=FILE`);
  }
  return { user, password };
}
