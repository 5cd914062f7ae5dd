/** What a `consul://` URL says: the agent of Consul to ask, the service's name, TLS, the token, deadlines. */
import { TLS_PARAMETERS, type TlsFiles, urlReader } from "../url-settings.ts";

export interface ConsulSettings {
  /** `host:port` of an agent of Consul: that of this machine. */
  readonly endpoint: string;
  /** Under which name nodes are registered. */
  readonly service: string;
  readonly tls?: TlsFiles | undefined;
  /** The file that holds the ACL token, or the token itself. */
  readonly token?: { readonly file: string } | { readonly value: string } | undefined;
  /** How long a call may take, apart from the wait of a blocking query. */
  readonly deadlineMs: number;
}

export const DEFAULT_PORT = 8500;
export const DEFAULT_SERVICE = "natto";
export const DEFAULT_DEADLINE_MS = 2000;
/** The environment variable that stands for a token, which should not appear in a list of processes. */
export const TOKEN_VARIABLE = "NATTO_CONSUL_TOKEN";

const PARAMETERS = [...TLS_PARAMETERS, "tokenFile", "service", "deadlineMs"] as const;
const FORM =
  "write it like consul://127.0.0.1:8500?tokenFile=FILE&ca=FILE&cert=FILE&key=FILE&service=NAME; docs/membership.md describes it";
const url = urlReader("membership consul://…", FORM);

/**
 * Reads `consul://HOST[:PORT][?tls=true&ca=…&cert=…&key=…&tokenFile=…&service=…&deadlineMs=…]`. The token may also come from the
 * environment. Throws `BadRequest`.
 */
export function consulSettings(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): ConsulSettings {
  const match = /^consul:\/\/([^/?#]*)\/?(?:\?([^#]*))?$/.exec(text);
  if (match === null) throw url.refused("not an address of Consul");
  const [, host = "", query = ""] = match;
  if (host.includes("@")) {
    throw url.refused(
      `a token does not belong into an address; give tokenFile=FILE or set ${TOKEN_VARIABLE}`,
    );
  }
  const given = url.parameters(query, PARAMETERS);
  const service = given.get("service") ?? DEFAULT_SERVICE;
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(service)) {
    throw url.refused(`service: found "${service}", allowed are lower-case letters, digits and '-'`);
  }
  const file = given.get("tokenFile");
  const value = environment[TOKEN_VARIABLE];
  return {
    endpoint: url.endpoint(host, DEFAULT_PORT),
    service,
    tls: url.tls(given),
    token: file ? { file } : value ? { value } : undefined,
    deadlineMs: url.deadlineMs(given.get("deadlineMs"), DEFAULT_DEADLINE_MS),
  };
}
