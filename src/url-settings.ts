/** Settings that are written as a URL, such as `etcd://…` and `consul://…`: its parts and parameters, and how each is refused. */
import { NattoError } from "./errors.ts";

/** Paths of PEM files. */
export interface TlsFiles {
  /** Without it the authorities that Node trusts are used. */
  readonly ca?: string | undefined;
  /** The client's own certificate and key, for mutual TLS. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export const TLS_PARAMETERS = ["tls", "ca", "cert", "key"] as const;

/** The parameters that were given, by name. */
export interface UrlParameters<P extends string> {
  get(name: P): string | undefined;
}

export interface UrlReader {
  /** `BadRequest` with this fault and how to write it right. */
  refused(fault: string): NattoError;
  /** Percent-decodes a part. */
  decoded(text: string, part: string): string;
  /** `HOST:PORT` from `HOST` or `HOST:PORT`. */
  endpoint(host: string, defaultPort: number): string;
  /** The parameters after the question mark, each known and given once. */
  parameters<P extends string>(query: string, known: readonly P[]): UrlParameters<P>;
  /** What `tls`, `ca`, `cert` and `key` say; undefined: no TLS. */
  tls(given: UrlParameters<(typeof TLS_PARAMETERS)[number]>): TlsFiles | undefined;
  /** A number of milliseconds from 10 to 60,000. */
  deadlineMs(text: string | undefined, byDefault: number): number;
}

/** `what` begins each error, such as `store etcd://…`; `form` ends it and shows how to write it. All functions throw `BadRequest`. */
export function urlReader(what: string, form: string): UrlReader {
  const refused = (fault: string): NattoError => new NattoError("BadRequest", `${what}: ${fault}; ${form}`);
  return {
    refused,
    decoded: (text, part) => {
      try {
        return decodeURIComponent(text);
      } catch {
        throw refused(`${part} is not percent-encoded as in other URLs`);
      }
    },
    endpoint: (host, defaultPort) => {
      const parts = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(host);
      const port = Number(parts?.[2] ?? defaultPort);
      if (parts === null || port < 1 || port > 65_535) {
        throw refused(`found "${host}", which is not HOST or HOST:PORT`);
      }
      return `${parts[1]}:${port}`;
    },
    parameters: <P extends string>(query: string, known: readonly P[]) => {
      const given = new Map<P, string>();
      for (const [text, value] of new URLSearchParams(query)) {
        const name = known.find((parameter) => parameter === text);
        if (name === undefined) throw refused(`unknown parameter "${text}"; known are ${known.join(", ")}`);
        if (value === "" || given.has(name)) throw refused(`parameter ${name} must have one value`);
        given.set(name, value);
      }
      return given;
    },
    tls: (given) => {
      const [tls, ca, cert, key] = TLS_PARAMETERS.map((name) => given.get(name));
      if (tls !== undefined && tls !== "true" && tls !== "false") {
        throw refused(`tls: found "${tls}", allowed are true and false`);
      }
      if ((cert === undefined) !== (key === undefined)) {
        throw refused("cert and key belong together; give both or neither");
      }
      const files = ca !== undefined || cert !== undefined;
      if (tls === "false" && files) throw refused("tls=false contradicts ca, cert and key");
      return files || tls === "true" ? { ca, cert, key } : undefined;
    },
    deadlineMs: (text, byDefault) => {
      if (text === undefined) return byDefault;
      const ms = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
      if (ms >= 10 && ms <= 60_000) return ms;
      throw refused(`deadlineMs: found "${text}", allowed are whole numbers from 10 to 60000 (milliseconds)`);
    },
  };
}
