/** The program's counters, of all and by gateway, summed over all CPUs. */
import { type KernelMaps, uint32Key } from "./kernel-maps.ts";
import type { Codecs } from "./layouts.ts";
import * as bpf from "./libbpf.ts";

/** Packets by counter, since the maps were made. */
export function readCounters(maps: KernelMaps, codecs: Codecs): Record<string, number> {
  const cpus = bpf.possibleCpus();
  const { size } = codecs.count;
  // The kernel copies an entry's values of all CPUs out, one behind the other.
  const { values } = bpf.readEntries(maps.counters.fd, { ...maps.counters.info, valueSize: cpus * size });
  return Object.fromEntries(
    codecs.counterNames.map((name, index) => [
      name,
      sumOverCpus(codecs, values, index * cpus * size, size).packets,
    ]),
  );
}

export interface Count {
  readonly packets: number;
  readonly bytes: number;
}

/** The counters of one gateway; undefined for an index that is not counted by itself. */
export function readGatewayCounters(
  maps: KernelMaps,
  codecs: Codecs,
  gateway: number,
): Record<string, Count> | undefined {
  const { fd, info } = maps.gateway_counts;
  if (gateway >= info.maxEntries) return undefined;
  const values = bpf.lookup(fd, uint32Key(gateway), bpf.possibleCpus() * info.valueSize);
  return (
    values &&
    Object.fromEntries(
      codecs.counterNames.map((name, index) => [
        name,
        sumOverCpus(codecs, values, index * codecs.count.size, info.valueSize),
      ]),
    )
  );
}

/** An index that is free for another gateway counts from zero. */
export function clearGatewayCounters(maps: KernelMaps, gateway: number): void {
  const { fd, info } = maps.gateway_counts;
  if (gateway >= info.maxEntries) return;
  bpf.update(fd, uint32Key(gateway), Buffer.alloc(bpf.possibleCpus() * info.valueSize));
}

/** Sums the value at `first` and those of the other CPUs, each so many bytes behind the one before. */
function sumOverCpus(codecs: Codecs, values: Buffer, first: number, apart: number): Count {
  let packets = 0n;
  let bytes = 0n;
  for (let cpu = 0; cpu < bpf.possibleCpus(); cpu++) {
    const count = codecs.count.decode(values, first + cpu * apart);
    packets += count.packets;
    bytes += count.bytes;
  }
  return { packets: Number(packets), bytes: Number(bytes) };
}
