/** Who holds an address, as far as floating addresses and port forwards say it. Pure. */
import type { FloatingAddress } from "../model/floating-address.ts";
import { formatAddress } from "../model/ipv4.ts";
import { formatPorts, type PortForward, portCount } from "../model/port-forward.ts";
import type { Protocol, WhoisQuestion } from "./whois.ts";

export interface StaticAnswer {
  readonly kind: "FloatingAddress" | "PortForward";
  readonly name: string;
  readonly cell: string;
  readonly publicAddress: string;
  readonly ports: string;
  readonly protocol: Protocol | "all";
  readonly inside: string;
}

interface Statics {
  readonly floats: readonly FloatingAddress[];
  readonly forwards: readonly PortForward[];
}

/** The static mappings of a public or inside address; of a public port, if one is given. */
export function whoisStatic(
  { address, port, protocol }: WhoisQuestion,
  { floats, forwards }: Statics,
): StaticAnswer[] {
  const text = formatAddress(address);
  const ofFloats = floats
    .filter(({ spec, status }) => status?.address === text || (port === undefined && spec.inside === text))
    .flatMap((float) => answerOf(float, "all", "all", float.spec.inside));
  const ofForwards = forwards
    .filter((forward) => isAsked(forward, text, port, protocol))
    .flatMap((forward) => {
      const { spec } = forward;
      const count = portCount(spec);
      const inside = `${spec.inside.address}:${formatPorts(spec.inside.port, count)}`;
      return answerOf(forward, spec.protocol, formatPorts(spec.port, count), inside);
    });
  return [...ofFloats, ...ofForwards];
}

function isAsked(
  { spec, status }: PortForward,
  text: string,
  port: number | undefined,
  protocol: Protocol | undefined,
): boolean {
  if (port === undefined) return status?.address === text || spec.inside.address === text;
  const offset = port - spec.port;
  const fits = protocol === undefined || protocol === spec.protocol;
  return status?.address === text && fits && offset >= 0 && offset < portCount(spec);
}

/** None while the object has no public address. */
function answerOf(
  { kind, metadata, spec, status }: FloatingAddress | PortForward,
  protocol: Protocol | "all",
  ports: string,
  inside: string,
): StaticAnswer[] {
  if (status?.address === undefined) return [];
  const name = `${metadata.namespace}/${metadata.name}`;
  return [{ kind, name, cell: spec.cell, publicAddress: status.address, protocol, ports, inside }];
}
