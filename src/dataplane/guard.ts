/**
 * The guard: an nftables rule that drops packets of enrolled sources which the kernel is about to forward as they are. The program
 * translates them before the kernel sees them, so nothing reaches this rule, unless the program is not there: somebody detached it,
 * or the machine has just booted. It fails closed where the program cannot.
 */
import { spawnSync } from "node:child_process";
import { NattoError } from "../errors.ts";
import type { Repair } from "./dataplane.ts";

const TABLE = "natto";

function nft(args: readonly string[], input?: string): { readonly ok: boolean; readonly text: string } {
  const result = spawnSync("nft", args, { encoding: "utf8", ...(input === undefined ? {} : { input }) });
  if (result.error) {
    throw new NattoError(
      "Environment",
      "cannot run nft; install it with 'apt-get install nftables'",
      [],
      result.error,
    );
  }
  return { ok: result.status === 0, text: result.status === 0 ? result.stdout : result.stderr.trim() };
}

/** The rules, as `nft -f` takes them: they replace the table in one transaction. */
export function renderGuard(interfaces: readonly string[], sources: readonly string[]): string {
  const names = [...new Set(interfaces)].map((name) => `"${name}"`).join(", ");
  const elements = sources.length > 0 ? `elements = { ${[...sources].sort().join(", ")} }` : "";
  return `table ip ${TABLE}
delete table ip ${TABLE}
table ip ${TABLE} {
  set enrolled {
    type ipv4_addr
    flags interval
    auto-merge
    ${elements}
  }
  chain forward {
    type filter hook forward priority -300; policy accept;
    iifname { ${names} } ip saddr @enrolled drop comment "enrolled sources leave translated or not at all"
  }
}
`;
}

export interface Guard {
  /** Puts the rules in place if they are not; the listing is compared with what it was when they were written. */
  ensure(rules: string): Repair[];
}

export function createGuard(): Guard {
  let written: { readonly rules: string; readonly listing: string } | undefined;
  const list = () => nft(["-s", "list", "table", "ip", TABLE]);
  return {
    ensure(rules) {
      if (written?.rules === rules) {
        const now = list();
        if (now.ok && now.text === written.listing) return [];
      }
      const result = nft(["-f", "-"], rules);
      if (!result.ok) throw new NattoError("Environment", `nftables refused the guard rules: ${result.text}`);
      const changed =
        written === undefined ? "put in place" : written.rules === rules ? "restored" : "brought up to date";
      written = { rules, listing: list().text };
      return [{ what: "guard", detail: `nftables table ${TABLE} ${changed}` }];
    },
  };
}

/** Removes the table; false when there was none. */
export function removeGuard(): boolean {
  return nft(["delete", "table", "ip", TABLE]).ok;
}
