/** The node's own key of the hash by which it chooses ports (bpf/port-hash.h). It stays as long as the map `config` is pinned; a new one does no harm. */
import type { Repair } from "./dataplane.ts";
import { type KernelMaps, readConfig, writeConfig } from "./kernel-maps.ts";
import type { Codecs } from "./layouts.ts";

/** Makes a key if there is none. `random` gives so many unpredictable bytes. */
export function ensurePortKey(maps: KernelMaps, codecs: Codecs, random: (bytes: number) => Buffer): Repair[] {
  const config = readConfig(maps, codecs);
  if (config.port_key0 !== 0n || config.port_key1 !== 0n) return [];
  const key = random(16);
  const [port_key0, port_key1] = [key.readBigUInt64LE(0), key.readBigUInt64LE(8)];
  writeConfig(maps, codecs, { ...config, port_key0, port_key1 });
  return [{ what: "map", detail: "config: a new key for the choice of ports" }];
}
