/** The programs that the attached ones go on with by tail calls (`stages` in bpf/forward.h), kept as they should be. */
import type { Repair } from "./dataplane.ts";
import { type KernelMaps, uint32Key } from "./kernel-maps.ts";
import * as bpf from "./libbpf.ts";

/** In the order of `enum stage`. */
const STAGES = ["natto_inward", "natto_fragment", "natto_first_outbound", "natto_first_inbound"] as const;

/** Puts back each stage that is missing or is another program. `programOf` tells the descriptor of a program that is loaded. */
export function ensureStages({ stages }: KernelMaps, programOf: (name: string) => number): Repair[] {
  return STAGES.flatMap((name, index): Repair[] => {
    const key = uint32Key(index);
    const wanted = programOf(name);
    // The kernel takes the descriptor of a program, and gives its id.
    const found = bpf.lookup(stages.fd, key, stages.info.valueSize)?.readUInt32LE();
    if (found === bpf.programId(wanted)) return [];
    bpf.update(stages.fd, key, uint32Key(wanted));
    return [{ what: "program", detail: `stages: ${name}` }];
  });
}
