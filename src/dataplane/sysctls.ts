/** Kernel settings that forwarding needs: set, kept, and given back at clean-up. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Repair } from "./dataplane.ts";

/** Path below /proc/sys/net/ipv4 → value. */
export function wantedSysctls(interfaces: readonly string[]): ReadonlyMap<string, string> {
  const wanted = new Map([
    ["ip_forward", "1"],
    // The effective value is the larger of `all` and the interface's.
    ["conf/all/rp_filter", "0"],
    ["conf/all/send_redirects", "0"],
  ]);
  for (const name of new Set(interfaces)) {
    wanted.set(`conf/${name}/forwarding`, "1");
    wanted.set(`conf/${name}/rp_filter`, "0");
    wanted.set(`conf/${name}/send_redirects`, "0");
    // A wrapped packet comes from an own address; the kernel forwards it when the program knows no neighbour yet.
    wanted.set(`conf/${name}/accept_local`, "1");
  }
  return wanted;
}

const procPath = (name: string) => join("/proc/sys/net/ipv4", name);
const savePath = (stateFolder: string) => join(stateFolder, "sysctls.json");

function readSaved(stateFolder: string): Record<string, string> {
  if (!existsSync(savePath(stateFolder))) return {};
  return JSON.parse(readFileSync(savePath(stateFolder), "utf8")) as Record<string, string>;
}

/** Sets what differs. The value that was there before Natto first changed it is kept in the state folder. */
export function ensureSysctls(stateFolder: string, wanted: ReadonlyMap<string, string>): Repair[] {
  const repairs: Repair[] = [];
  const saved = readSaved(stateFolder);
  for (const [name, value] of wanted) {
    if (!existsSync(procPath(name))) continue;
    const found = readFileSync(procPath(name), "utf8").trim();
    if (found === value) continue;
    saved[name] ??= found;
    mkdirSync(stateFolder, { recursive: true });
    writeFileSync(savePath(stateFolder), JSON.stringify(saved, null, 2));
    writeFileSync(procPath(name), value);
    repairs.push({ what: "sysctl", detail: `net.ipv4.${name.replaceAll("/", ".")}: ${found} -> ${value}` });
  }
  return repairs;
}

/** Gives back what was changed; returns the names. */
export function restoreSysctls(stateFolder: string): string[] {
  const saved = readSaved(stateFolder);
  const restored = Object.entries(saved).filter(([name]) => existsSync(procPath(name)));
  for (const [name, value] of restored) writeFileSync(procPath(name), value);
  rmSync(savePath(stateFolder), { force: true });
  return restored.map(([name]) => `net.ipv4.${name.replaceAll("/", ".")}`);
}
