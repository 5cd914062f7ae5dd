/** Where the program is attached: XDP links, pinned so that they outlive the agent. */
import { unlinkSync } from "node:fs";
import { join } from "node:path";
import { NattoError } from "../errors.ts";
import type { Repair } from "./dataplane.ts";
import * as bpf from "./libbpf.ts";

export type Role = "inside" | "outside" | "both";
export const ROLES: readonly Role[] = ["inside", "outside", "both"];

const linkPin = (folder: string, role: Role) => join(folder, `link_${role}`);

/** Which interface is attached in which role. */
export function rolesOf(interfaces: {
  readonly inside: string;
  readonly outside: string;
}): ReadonlyMap<Role, string> {
  return interfaces.inside === interfaces.outside
    ? new Map([["both", interfaces.inside]])
    : new Map<Role, string>([
        ["inside", interfaces.inside],
        ["outside", interfaces.outside],
      ]);
}

/** Removes the attachment of a role; false when there was none. */
export function detach(folder: string, role: Role): boolean {
  return detachPinned(linkPin(folder, role));
}

/** Removes the attachment that is pinned there; false when there was none. */
export function detachPinned(path: string): boolean {
  const link = bpf.openPin(path);
  if (link === undefined) return false;
  // Without this the kernel detaches some time after the last reference is gone.
  bpf.detachLink(link);
  bpf.closeFd(link);
  unlinkSync(path);
  return true;
}

function ensureRole(folder: string, role: Role, interfaceName: string, program: number): Repair[] {
  if (bpf.interfaceIndex(interfaceName) === undefined) {
    throw new NattoError(
      "Environment",
      `interface ${interfaceName} (spec.interfaces.${role === "both" ? "inside" : role}) does not exist; create it or correct the agent's --inside/--outside`,
    );
  }
  return ensureLink(linkPin(folder, role), interfaceName, program, ` (${role})`);
}

/** Attaches a program to an interface that exists, by a pinned link. */
export function ensureLink(path: string, interfaceName: string, program: number, as = ""): Repair[] {
  const ifindex = bpf.interfaceIndex(interfaceName);
  const link = bpf.openPin(path);
  if (link !== undefined) {
    try {
      const info = bpf.linkInfo(link);
      if (info.ifindex === ifindex) {
        if (info.programId === bpf.programId(program)) return [];
        bpf.updateLink(link, program);
        return [{ what: "program", detail: `${interfaceName}: replaced by this agent's version` }];
      }
    } finally {
      bpf.closeFd(link);
    }
    // Detached by hand, or the interface was made anew: such a link cannot be used again.
    unlinkSync(path);
  }
  if (ifindex === undefined) throw new NattoError("Environment", `interface ${interfaceName} has just gone`);
  const fresh = bpf.createXdpLink(program, ifindex, interfaceName);
  try {
    bpf.pin(fresh, path);
  } finally {
    bpf.closeFd(fresh);
  }
  return [{ what: "attach", detail: `attached to ${interfaceName}${as}` }];
}

/**
 * Attaches the programs where they should be and nowhere else. All interfaces are tried; the first error is thrown at the end.
 * `programOf` gives the descriptor of a role's program.
 */
export function ensureAttached(
  folder: string,
  roles: ReadonlyMap<Role, string>,
  programOf: (role: Role) => number,
): Repair[] {
  const repairs: Repair[] = [];
  const errors: unknown[] = [];
  // An interface takes one program: the roles that are over make room first.
  for (const role of ROLES) {
    if (roles.has(role) || !detach(folder, role)) continue;
    repairs.push({ what: "attach", detail: `detached the role ${role}` });
  }
  for (const [role, interfaceName] of roles) {
    try {
      repairs.push(...ensureRole(folder, role, interfaceName, programOf(role)));
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return repairs;
}
