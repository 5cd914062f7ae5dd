/** The program's counters, summed over all CPUs. */
import type { KernelMaps } from "./kernel-maps.ts";
import type { Codecs } from "./layouts.ts";
import * as bpf from "./libbpf.ts";

/** Packets by counter, since the maps were made. */
export function readCounters(maps: KernelMaps, codecs: Codecs): Record<string, number> {
  const cpus = bpf.possibleCpus();
  const { size } = codecs.count;
  // The kernel copies an entry's values of all CPUs out, one behind the other.
  const { values } = bpf.readEntries(maps.counters.fd, { ...maps.counters.info, valueSize: cpus * size });
  const sum = (index: number): number => {
    let packets = 0n;
    for (let cpu = 0; cpu < cpus; cpu++)
      packets += codecs.count.decode(values, (index * cpus + cpu) * size).packets;
    return Number(packets);
  };
  return Object.fromEntries(codecs.counterNames.map((name, index) => [name, sum(index)]));
}
