/** Opens the store that a URL names. */
import { NattoError } from "../errors.ts";
import { openHttpStore } from "./http-store.ts";
import { openMemoryStore } from "./memory-store.ts";
import { openSqliteStore } from "./sqlite-store.ts";
import { type Damage, keyText, type Store } from "./store.ts";

/**
 * Takes `memory:`, `file:PATH` (an embedded database, made if it does not exist), and `http://…` or `https://…` (a `natto server`),
 * and `etcd://HOST:PORT,…/PREFIX?…` (see `etcdSettings`). Throws `BadRequest` for anything else, `Environment` when a file
 * cannot be opened. `onDamage` is told once of each value that is found to be no object.
 */
export async function openStore(url: string, onDamage: (damage: Damage) => void = () => {}): Promise<Store> {
  const options = { onDamage: onceEach(onDamage) };
  const scheme = /^([a-z]+):/.exec(url)?.[1];
  switch (scheme) {
    case "memory":
      return openMemoryStore(options);
    case "file":
      return openSqliteStore(url.slice("file:".length), options);
    case "http":
    case "https":
      return openHttpStore(url);
    case "etcd": {
      // Loaded here, because gRPC would double the time in which other commands start.
      const { openEtcdStore } = await import("./etcd-store.ts");
      return openEtcdStore(url, options);
    }
    default:
      throw new NattoError("BadRequest", `store "${url}": not a store that Natto knows; ${CHOICES}`);
  }
}

const CHOICES =
  "use file:PATH, etcd://HOST:PORT,…, the http:// address of a natto server, or memory: (lost when the process ends)";

/** Lists and watches come upon the same value again and again. */
function onceEach(onDamage: (damage: Damage) => void): (damage: Damage) => void {
  const told = new Map<string, string>();
  return (damage) => {
    const key = keyText(damage.key);
    if (told.get(key) === damage.resourceVersion) return;
    told.set(key, damage.resourceVersion);
    onDamage(damage);
  };
}
