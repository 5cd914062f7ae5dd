/**
 * Natto's own pair of interfaces, through which fragments go that were held (docs/dataplane.md, "Fragments"): made, kept, and removed at
 * clean-up. Each end has a program, and the program knows both by their indices.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { NattoError } from "../errors.ts";
import { detachPinned, ensureLink } from "./attachment.ts";
import type { Repair } from "./dataplane.ts";
import { type KernelMaps, uint32Key } from "./kernel-maps.ts";
import * as bpf from "./libbpf.ts";

/** Where the next fragment that was held is released, and where all are taken up again. */
const HELD = "natto-held";
export const AGAIN = "natto-again";
const ENDS = [HELD, AGAIN] as const;
/** Of both ends: what the program addresses frames to that the kernel is to take (HELD_MAC in bpf/held-fragments.h). */
const MAC = "02:4e:41:54:00:ff";
/** A frame that is held has 2,048 bytes at most. */
const MTU = 2048;

const linkPin = (folder: string, end: string) => join(folder, `link_${end.replace("-", "_")}`);

function ip(args: readonly string[]): { readonly ok: boolean; readonly text: string } {
  const result = spawnSync("ip", args, { encoding: "utf8" });
  if (result.error) {
    const message = "cannot run ip; install it with 'apt-get install iproute2'";
    throw new NattoError("Environment", message, [], result.error);
  }
  return { ok: result.status === 0, text: (result.status === 0 ? result.stdout : result.stderr).trim() };
}

function mustIp(...args: readonly string[]): void {
  const { ok, text } = ip(args);
  if (!ok)
    throw new NattoError("Environment", `cannot make Natto's own interfaces: ip ${args.join(" ")}: ${text}`);
}

/** One queue each: frames come out in the order in which they went in. */
const endOf = (name: string) =>
  ["name", name, "mtu", `${MTU}`, "address", MAC, "numtxqueues", "1", "numrxqueues", "1"] as const;

/** Makes the pair if it is not there, and sets it up. `thoroughly` looks whether it is up, too, which starts a program. */
export function ensureHeldPair(thoroughly: boolean): Repair[] {
  const repairs: Repair[] = [];
  if (ENDS.some((end) => bpf.interfaceIndex(end) === undefined)) {
    for (const end of ENDS) ip(["link", "delete", end]);
    mustIp("link", "add", ...endOf(HELD), "type", "veth", "peer", ...endOf(AGAIN));
    repairs.push({ what: "attach", detail: `${ENDS.join(" and ")} made` });
  } else if (!thoroughly) {
    return [];
  }
  for (const end of ENDS) {
    if (/<[^>]*\bUP\b[^>]*>/.test(ip(["-o", "link", "show", "dev", end]).text)) continue;
    mustIp("link", "set", "dev", end, "arp", "off", "addrgenmode", "none", "up");
    if (repairs.length === 0) repairs.push({ what: "attach", detail: `${end} set up` });
  }
  return repairs;
}

/** Attaches the programs to both ends, and tells the program where they are. */
export function ensureHeldPrograms(
  folder: string,
  maps: KernelMaps,
  programOf: (name: string) => number,
): Repair[] {
  const repairs = ENDS.flatMap((end) =>
    ensureLink(linkPin(folder, end), end, programOf(end.replace("-", "_"))),
  );
  const { fd, info } = maps.held_ends;
  // What is sent into one end comes out of the other.
  for (const [index, into] of [AGAIN, HELD].entries()) {
    const ifindex = uint32Key(bpf.interfaceIndex(into)!);
    if (bpf.lookup(fd, uint32Key(index), info.valueSize)?.equals(ifindex)) continue;
    bpf.update(fd, uint32Key(index), ifindex);
    repairs.push({ what: "map", detail: `held_ends: ${into}` });
  }
  return repairs;
}

/** Removes the pair and what is attached to it; false when there was none. */
export function removeHeldPair(folder: string): boolean {
  for (const end of ENDS) detachPinned(linkPin(folder, end));
  return ip(["link", "delete", HELD]).ok;
}
