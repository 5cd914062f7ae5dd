/**
 * From a lab as it is declared to the hosts, interfaces and routes that it is made of. Pure: `lab.ts` builds what stands here.
 */
import type { FieldError } from "../errors.ts";
import {
  address,
  cidr,
  cidrContains,
  cidrSize,
  formatAddress,
  netmask,
  parseAddress,
} from "../model/ipv4.ts";
import { invalid } from "../model/validate.ts";
import type { HostRole, LabFile, LabGroup, LabProcessSpec, LabRouteSpec } from "./lab-file.ts";

/** The interface of nodes, and the bridge in the control host, that carry management traffic. */
export const MANAGEMENT_INTERFACE = "mgmt";
/** Numbers of hosts in the management network: the bridge has 1, other control hosts the next ones, nodes these. */
const FIRST_MANAGED_CONTROL = 2;
const FIRST_MANAGED_NODE = 11;

export interface LabInterface {
  readonly name: string;
  /** The link's name: that of its two ends. */
  readonly link: string;
  readonly network: "fabric" | "management";
  /** Such as `10.1.0.0/31`; undefined for a port of the management bridge. */
  readonly address: string | undefined;
  readonly peer: { readonly host: string; readonly interface: string; readonly address: string | undefined };
  readonly mtu: number;
  /** A port of the management bridge that reaches nobody but the control hosts. */
  readonly isolated: boolean;
}

export interface NextHop {
  readonly interface: string;
  readonly gateway: string;
}

export interface LabRoute {
  readonly to: string;
  /** None: packets are discarded. */
  readonly hops: readonly NextHop[];
}

export interface LabHost {
  readonly name: string;
  readonly role: HostRole;
  /** Number in its group, from 1; 0 when it is in none. */
  readonly index: number;
  /** Network namespace. */
  readonly namespace: string;
  /** On the loopback interface. */
  readonly addresses: readonly string[];
  readonly interfaces: readonly LabInterface[];
  /** The address of the management bridge, in the host that has it. */
  readonly bridgeAddress: string | undefined;
  readonly routes: readonly LabRoute[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly processes: readonly LabProcessSpec[];
}

export interface Topology {
  readonly name: string;
  /** In the order in which they are declared. */
  readonly hosts: readonly LabHost[];
  /** The control host's address on the management network. */
  readonly managementAddress: string | undefined;
}

/** A host's own address on the management network; undefined when it is not attached. */
export function managedAddress(host: LabHost): string | undefined {
  const own = host.bridgeAddress ?? host.interfaces.find((i) => i.name === MANAGEMENT_INTERFACE)?.address;
  return own === undefined ? undefined : hostPart(own);
}

/** The name of a host's network namespace. */
export function namespaceOf(lab: string, host: string): string {
  return `${namespacePrefix(lab)}${host}`;
}

/** What the namespaces of a lab, and of no other, begin with. */
export function namespacePrefix(lab: string): string {
  return `natto-${lab}-`;
}

interface Draft {
  readonly name: string;
  readonly role: HostRole;
  readonly index: number;
  readonly addresses: readonly string[];
  readonly sysctls: Readonly<Record<string, string | number>>;
  readonly processes: readonly LabProcessSpec[];
  readonly routes: LabRouteSpec[];
  readonly interfaces: LabInterface[];
  /** Where it is declared, for errors. */
  readonly field: string;
  bridgeAddress: string | undefined;
}

interface Builder {
  readonly hosts: Map<string, Draft>;
  readonly faults: FieldError[];
}

/** Expands groups, joins links and resolves next hops. Throws `Invalid` for what refers to nothing, does not fit or stands twice. */
export function expandLab(lab: LabFile): Topology {
  const builder: Builder = { hosts: new Map(), faults: [] };
  const { spec } = lab;
  for (const [i, host] of spec.hosts.entries())
    addHost(builder, { ...host, index: 0, field: `spec.hosts[${i}]` });
  for (const [i, group] of spec.groups.entries()) addGroupHosts(builder, group, `spec.groups[${i}]`);
  for (const [i, link] of spec.links.entries())
    addLink(builder, { ...link, network: "fabric" }, `spec.links[${i}]`);
  for (const [i, group] of spec.groups.entries()) addGroupLinks(builder, group, `spec.groups[${i}]`);
  const managementAddress = addManagement(builder, spec.management);
  const hosts = [...builder.hosts.values()].map((draft) => finishHost(builder, lab.metadata.name, draft));
  if (hosts.length === 0) {
    builder.faults.push({ field: "spec.hosts", message: "is empty", remedy: "declare hosts or groups" });
  }
  if (builder.faults.length > 0) throw invalid(lab, builder.faults);
  return { name: lab.metadata.name, hosts, managementAddress };
}

type NewHost = Omit<Draft, "interfaces" | "routes" | "bridgeAddress"> & {
  readonly routes: readonly LabRouteSpec[];
};

function addHost(builder: Builder, host: NewHost): void {
  if (builder.hosts.has(host.name)) {
    builder.faults.push({
      field: `${host.field}.name`,
      message: `there is another host ${host.name}`,
      remedy: "rename one of them",
    });
    return;
  }
  const { name, role, index, addresses, sysctls, processes, field } = host;
  const draft = { name, role, index, addresses, sysctls, processes, field, bridgeAddress: undefined };
  builder.hosts.set(name, { ...draft, routes: [...host.routes], interfaces: [] });
}

function addGroupHosts(builder: Builder, group: LabGroup, field: string): void {
  const block = group.addresses === undefined ? undefined : cidr(group.addresses);
  if (block && cidrSize(block) <= group.count) {
    builder.faults.push(tooSmall(`${field}.addresses`, group.addresses ?? "", group.count));
    return;
  }
  for (let index = 1; index <= group.count; index++) {
    const addresses = block ? [formatAddress(block.first + index)] : [];
    addHost(builder, { ...group, name: `${group.prefix}${index}`, index, addresses, field });
  }
}

interface NewLink {
  readonly a: { readonly host: string; readonly interface: string; readonly address?: string | undefined };
  readonly b: { readonly host: string; readonly interface: string; readonly address?: string | undefined };
  readonly mtu: number;
  readonly network: LabInterface["network"];
  readonly isolated?: boolean;
}

function addLink(builder: Builder, link: NewLink, field: string): void {
  const name = `${link.a.host}:${link.a.interface}--${link.b.host}:${link.b.interface}`;
  for (const [end, peer, side] of [
    [link.a, link.b, "a"],
    [link.b, link.a, "b"],
  ] as const) {
    const host = builder.hosts.get(end.host);
    if (!host) {
      builder.faults.push(noSuchHost(builder, `${field}.${side}.host`, end.host));
      continue;
    }
    if (end.interface.length > 15 || host.interfaces.some((i) => i.name === end.interface)) {
      const message =
        end.interface.length > 15
          ? `${end.interface} has more than 15 characters, which no interface name may have`
          : `${end.host} has another interface ${end.interface}`;
      builder.faults.push({ field: `${field}.${side}.interface`, message, remedy: "choose another name" });
      continue;
    }
    const { mtu, network, isolated = false } = link;
    const far = { host: peer.host, interface: peer.interface, address: peer.address };
    host.interfaces.push({
      name: end.interface,
      link: name,
      network,
      address: end.address,
      peer: far,
      mtu,
      isolated,
    });
  }
}

function addGroupLinks(builder: Builder, group: LabGroup, field: string): void {
  for (const [i, link] of group.links.entries()) {
    const at = `${field}.links[${i}]`;
    const router = builder.hosts.get(link.to);
    if (!router) {
      builder.faults.push(noSuchHost(builder, `${at}.to`, link.to));
      continue;
    }
    const { first, bits } = cidr(link.subnet);
    const needed = link.gateway === undefined ? 2 * group.count : link.first + group.count;
    if (2 ** (32 - bits) < needed) {
      builder.faults.push(tooSmall(`${at}.subnet`, link.subnet, needed));
      continue;
    }
    for (let n = 1; n <= group.count; n++) {
      const host = `${group.prefix}${n}`;
      const [near, far] =
        link.gateway === undefined
          ? [`${formatAddress(first + 2 * n - 1)}/31`, `${formatAddress(first + 2 * n - 2)}/31`]
          : [`${formatAddress(first + link.first + n - 1)}/32`, `${link.gateway}/32`];
      const a = { host, interface: link.interface, address: near };
      const b = { host: link.to, interface: host, address: far };
      addLink(builder, { a, b, mtu: link.mtu, network: "fabric" }, at);
      if (!link.announce) continue;
      for (const own of builder.hosts.get(host)?.addresses ?? [])
        router.routes.push({ to: `${own}/32`, via: [host] });
    }
  }
}

function addManagement(builder: Builder, management: LabFile["spec"]["management"]): string | undefined {
  if (!management) return undefined;
  const host = builder.hosts.get(management.host);
  if (!host) {
    builder.faults.push(noSuchHost(builder, "spec.management.host", management.host));
    return undefined;
  }
  const { first, bits } = cidr(management.subnet);
  const nodes = [...builder.hosts.values()].filter((h) => h.role === "node");
  const controls = [...builder.hosts.values()].filter((h) => h.role === "control" && h !== host);
  if (2 ** (32 - bits) <= FIRST_MANAGED_NODE + nodes.length) {
    const needed = FIRST_MANAGED_NODE + nodes.length + 1;
    builder.faults.push(tooSmall("spec.management.subnet", management.subnet, needed));
    return undefined;
  }
  if (FIRST_MANAGED_CONTROL + controls.length > FIRST_MANAGED_NODE) {
    const message = `there are ${controls.length} control hosts beside ${host.name}, and addresses for ${FIRST_MANAGED_NODE - FIRST_MANAGED_CONTROL}`;
    builder.faults.push({ field: "spec.hosts", message, remedy: "declare fewer control hosts" });
    return undefined;
  }
  host.bridgeAddress = `${formatAddress(first + 1)}/${bits}`;
  // The fabric does not know the way to the management network, not even by a default route over the nodes.
  for (const router of builder.hosts.values()) {
    if (router.role === "router") router.routes.push({ to: management.subnet, via: [] });
  }
  const attach = (member: Draft, number: number, isolated: boolean): void => {
    const a = {
      host: member.name,
      interface: MANAGEMENT_INTERFACE,
      address: `${formatAddress(first + number)}/${bits}`,
    };
    const b = { host: host.name, interface: member.name };
    addLink(builder, { a, b, mtu: 1500, network: "management", isolated }, "spec.management");
  };
  for (const [i, control] of controls.entries()) attach(control, FIRST_MANAGED_CONTROL + i, false);
  for (const [i, node] of nodes.entries()) attach(node, FIRST_MANAGED_NODE + i, management.isolated);
  return formatAddress(first + 1);
}

function finishHost(builder: Builder, lab: string, draft: Draft): LabHost {
  const routes = draft.routes.map((route) => ({
    to: route.to,
    hops: route.via.flatMap((via) => {
      const hops = nextHops(draft, via);
      if (hops.length === 0) {
        builder.faults.push({
          field: `${draft.field}.routes`,
          message: `${draft.name} cannot reach ${via}, a next hop toward ${route.to}`,
          remedy:
            "name an own interface whose other end has an address, a pattern of such, or the address of a neighbour",
        });
      }
      return hops;
    }),
  }));
  const { name, role, index, addresses, interfaces, bridgeAddress, processes } = draft;
  const sysctls = Object.fromEntries(
    Object.entries(draft.sysctls).map(([key, value]) => [key, String(value)]),
  );
  const namespace = namespaceOf(lab, name);
  return { name, role, index, namespace, addresses, interfaces, bridgeAddress, routes, sysctls, processes };
}

function nextHops(host: Draft, via: string): NextHop[] {
  const fabric = host.interfaces.filter((i) => i.network === "fabric");
  const asAddress = parseAddress(via);
  if (asAddress !== undefined) {
    const facing = fabric.find((i) => i.address !== undefined && reaches(i, asAddress));
    return facing ? [{ interface: facing.name, gateway: via }] : [];
  }
  const [before = "", ...after] = via.split("*");
  const matches = (name: string) =>
    after.length === 0
      ? name === via
      : name.startsWith(before) && name.endsWith(after.join("*")) && name.length >= via.length - 1;
  return fabric.flatMap((i) =>
    matches(i.name) && i.peer.address !== undefined
      ? [{ interface: i.name, gateway: hostPart(i.peer.address) }]
      : [],
  );
}

function reaches(own: LabInterface, neighbour: number): boolean {
  if (own.peer.address !== undefined && address(hostPart(own.peer.address)) === neighbour) return true;
  const [base, bits] = splitAddress(own.address ?? "0.0.0.0/32");
  return bits < 32 && cidrContains({ first: (base & netmask(bits)) >>> 0, bits }, neighbour);
}

/** The address of `a.b.c.d/len`. */
export function hostPart(text: string): string {
  return text.split("/")[0] ?? text;
}

function splitAddress(text: string): readonly [number, number] {
  return [address(hostPart(text)), Number(text.split("/")[1])];
}

/** Whether the two ends of a link are in one subnet; if not they know each other as point-to-point peers. */
export function shareSubnet(a: string, b: string): boolean {
  const [first, bits] = splitAddress(a);
  const [second, otherBits] = splitAddress(b);
  return bits === otherBits && bits < 32 && (first & netmask(bits)) === (second & netmask(bits));
}

function noSuchHost(builder: Builder, field: string, name: string): FieldError {
  const known = [...builder.hosts.keys()].slice(0, 8).join(", ");
  return { field, message: `there is no host ${name}`, remedy: `declare it or use one of ${known}` };
}

function tooSmall(field: string, block: string, needed: number): FieldError {
  return { field, message: `${block} has fewer than ${needed} addresses`, remedy: "choose a larger block" };
}
