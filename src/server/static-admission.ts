/** Rules of floating addresses and port forwards that involve other objects, checked before a write. Pure, like `admission.ts`. */
import type { FieldError } from "../errors.ts";
import type { AddressPool } from "../model/address-pool.ts";
import type { FloatingAddress } from "../model/floating-address.ts";
import { address, cidr, cidrContains } from "../model/ipv4.ts";
import type { Placement } from "../model/placement.ts";
import { formatPorts, type PortForward, portCount, portsOverlap } from "../model/port-forward.ts";
import { nameOf } from "../model/validate.ts";

/** All objects that may hold a public address. */
export interface Holders {
  readonly placements: readonly Placement[];
  readonly floats: readonly FloatingAddress[];
  readonly forwards: readonly PortForward[];
}

/** A public address that is in use. */
export interface Holding {
  readonly pool: string;
  readonly address: string;
  /** `Kind namespace/name`. */
  readonly holder: string;
  /** Of a PortForward: others of its namespace may share the address. */
  readonly sharedIn: string | undefined;
}

/** Every address of a pool that somebody has, or asks for by itself. */
export function holdingsOf({ placements, floats, forwards }: Holders): readonly Holding[] {
  const ofGateways = placements.flatMap(({ metadata, spec }) =>
    spec.addresses.map((placed): Holding => {
      const holder = nameOf({ kind: "NatGateway", metadata });
      return { pool: spec.pool, address: placed.address, holder, sharedIn: undefined };
    }),
  );
  const ofFloats = floats.flatMap((float): Holding[] => {
    const held = float.spec.address ?? float.status?.address;
    if (held === undefined) return [];
    return [{ pool: float.spec.pool, address: held, holder: nameOf(float), sharedIn: undefined }];
  });
  const ofForwards = forwards.flatMap((forward): Holding[] => {
    const { pool, address: held } = forward.spec.public;
    if (pool === undefined || held === undefined) return [];
    return [{ pool, address: held, holder: nameOf(forward), sharedIn: forward.metadata.namespace ?? "" }];
  });
  return [...ofGateways, ...ofFloats, ...ofForwards];
}

/** A host has one floating address, and an address one holder. `pool` is the one that it names, if it exists. */
export function floatFaults(
  float: FloatingAddress,
  holders: Holders,
  pool: AddressPool | undefined,
): readonly FieldError[] {
  const rival = holders.floats.find(
    (other) =>
      nameOf(other) !== nameOf(float) &&
      other.spec.cell === float.spec.cell &&
      other.spec.inside === float.spec.inside,
  );
  const faults: FieldError[] = [];
  if (rival) {
    faults.push({
      field: "spec.inside",
      message: `${float.spec.inside} has the floating address of ${nameOf(rival)} already`,
      remedy: "a host has one: remove one of the two",
    });
  }
  const others = { ...holders, floats: holders.floats.filter((other) => nameOf(other) !== nameOf(float)) };
  return [
    ...faults,
    ...wantedFaults("spec.address", float.spec.address, pool, holdingsOf(others), undefined),
  ];
}

/** Both ends of a forward are its own, and its address is one that it may use. */
export function forwardFaults(
  forward: PortForward,
  holders: Holders,
  pool: AddressPool | undefined,
): readonly FieldError[] {
  const forwards = holders.forwards.filter((other) => nameOf(other) !== nameOf(forward));
  const namespace = forward.metadata.namespace ?? "";
  const wanted = forward.spec.public.pool === undefined ? undefined : forward.spec.public.address;
  return [
    ...wantedFaults("spec.public.address", wanted, pool, holdingsOf({ ...holders, forwards }), namespace),
    ...gatewayFaults(forward, holders.placements),
    ...forwards.flatMap((other) => clashes(forward, other, holders.placements)).slice(0, MAX_FAULTS),
  ];
}

/** At most so many are listed; more would only hide the first. */
const MAX_FAULTS = 10;

function wantedFaults(
  field: string,
  wanted: string | undefined,
  pool: AddressPool | undefined,
  holdings: readonly Holding[],
  namespace: string | undefined,
): readonly FieldError[] {
  if (wanted === undefined) return [];
  if (pool && !pool.spec.cidrs.some((block) => cidrContains(cidr(block), address(wanted)))) {
    const message = `${wanted} is not in ${nameOf(pool)} (${pool.spec.cidrs.join(", ")})`;
    return [{ field, message, remedy: "choose an address of the pool, or name another pool" }];
  }
  const held = holdings.find(
    (holding) => holding.address === wanted && !(namespace !== undefined && holding.sharedIn === namespace),
  );
  if (!held) return [];
  return [
    {
      field,
      message: `${wanted} is in use by ${held.holder}`,
      remedy: "choose a free address, or leave it out to get one",
    },
  ];
}

function gatewayFaults(forward: PortForward, placements: readonly Placement[]): readonly FieldError[] {
  const { gateway, address: wanted } = forward.spec.public;
  const addresses = gateway === undefined ? [] : addressesOf(forward, placements);
  if (wanted === undefined || addresses.length === 0 || addresses.includes(wanted)) return [];
  return [
    {
      field: "spec.public.address",
      message: `${wanted} is none of the addresses of NatGateway ${forward.metadata.namespace}/${gateway} (${addresses.join(", ")})`,
      remedy: "name one of them, or leave it out",
    },
  ];
}

function addressesOf({ metadata, spec }: PortForward, placements: readonly Placement[]): readonly string[] {
  const placement = placements.find(
    (candidate) =>
      candidate.metadata.namespace === metadata.namespace && candidate.metadata.name === spec.public.gateway,
  );
  return placement?.spec.addresses.map((placed) => placed.address) ?? [];
}

/** What a forward's ports are of: an address, or a gateway that has none yet. */
function publicOf(forward: PortForward, placements: readonly Placement[]): string {
  const { gateway, address: wanted } = forward.spec.public;
  const found = wanted ?? forward.status?.address ?? addressesOf(forward, placements)[0];
  return found ?? `NatGateway ${forward.metadata.namespace}/${gateway}`;
}

function clashes(a: PortForward, b: PortForward, placements: readonly Placement[]): readonly FieldError[] {
  if (a.spec.cell !== b.spec.cell || a.spec.protocol !== b.spec.protocol) return [];
  const [counts, faults] = [{ a: portCount(a.spec), b: portCount(b.spec) }, [] as FieldError[]];
  const outside = publicOf(a, placements);
  const [publicA, publicB] = [
    { port: a.spec.port, count: counts.a },
    { port: b.spec.port, count: counts.b },
  ];
  const remedy = "choose other ports, or remove one of the two";
  if (outside === publicOf(b, placements) && portsOverlap(publicA, publicB)) {
    const message = `${a.spec.protocol} ${formatPorts(a.spec.port, counts.a)} of ${outside} overlaps ${formatPorts(b.spec.port, counts.b)} of ${nameOf(b)}`;
    faults.push({ field: "spec.port", message, remedy });
  }
  const [insideA, insideB] = [
    { port: a.spec.inside.port, count: counts.a },
    { port: b.spec.inside.port, count: counts.b },
  ];
  if (a.spec.inside.address === b.spec.inside.address && portsOverlap(insideA, insideB)) {
    const message = `${a.spec.protocol} ${a.spec.inside.address}:${formatPorts(a.spec.inside.port, counts.a)} is the target of ${nameOf(b)} too, so that a reply could leave in two ways`;
    faults.push({ field: "spec.inside", message, remedy });
  }
  return faults;
}
