/** Opens the store that a URL names. */
import { NattoError } from "../errors.ts";
import { openHttpStore } from "./http-store.ts";
import { openMemoryStore } from "./memory-store.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import type { Store } from "./store.ts";

/**
 * Takes `memory:`, `file:PATH` (an embedded database, made if it does not exist), and `http://…` or `https://…` (a `natto server`),
 * and `etcd://HOST:PORT,…/PREFIX?…` (see `etcdSettings`). Throws `BadRequest` for anything else, `Environment` when a file
 * cannot be opened.
 */
export async function openStore(url: string): Promise<Store> {
  const scheme = /^([a-z]+):/.exec(url)?.[1];
  switch (scheme) {
    case "memory":
      return openMemoryStore();
    case "file":
      return openSqliteStore(url.slice("file:".length));
    case "http":
    case "https":
      return openHttpStore(url);
    case "etcd": {
      // Loaded here, because gRPC would double the time in which other commands start.
      const { openEtcdStore } = await import("./etcd-store.ts");
      return openEtcdStore(url);
    }
    default:
      throw new NattoError("BadRequest", `store "${url}": not a store that Natto knows; ${CHOICES}`);
  }
}

const CHOICES =
  "use file:PATH, etcd://HOST:PORT,…, the http:// address of a natto server, or memory: (lost when the process ends)";
