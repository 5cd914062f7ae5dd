/**
 * Static mappings: what floating addresses and port forwards come to. Which address stands for which is written down, both ways: what
 * comes in on a public address goes out on it.
 */
import { z } from "zod";
import { addressField, integerField, nameField, portField } from "./fields.ts";
import { address } from "./ipv4.ts";

/** Condition of a floating address or a forward that the nodes are told. */
export const STATIC_READY = "Ready";

/** Of one forward. Each is an entry of its own in the dataplane. */
export const MAX_FORWARDED_PORTS = 1024;

/** Floating addresses and forwarded ports that the nodes of a cell have room for; half of MAX_STATIC_MAPPINGS in bpf/static-mappings.h. */
export const MAX_MAPPINGS_PER_CELL = 65_536;

export const forwardProtocolField = z.enum(["tcp", "udp"]);

/** A floating address as nodes are told. */
export const floatingConfigSchema = z.strictObject({
  namespace: nameField,
  name: nameField,
  address: addressField,
  inside: addressField,
});

export type FloatingConfig = z.output<typeof floatingConfigSchema>;

/** A port forward as nodes are told: `count` ports from `port` on become as many from `insidePort` on. */
export const forwardConfigSchema = z.strictObject({
  namespace: nameField,
  name: nameField,
  protocol: forwardProtocolField,
  address: addressField,
  port: portField,
  count: integerField(1, MAX_FORWARDED_PORTS),
  inside: addressField,
  insidePort: portField,
});

export type ForwardConfig = z.output<typeof forwardConfigSchema>;

/** The pairs of ports of a forward. */
export function forwardedPorts({
  port,
  count,
  insidePort,
}: Pick<ForwardConfig, "port" | "count" | "insidePort">): readonly {
  readonly publicPort: number;
  readonly insidePort: number;
}[] {
  return Array.from({ length: count }, (_, i) => ({ publicPort: port + i, insidePort: insidePort + i }));
}

/** A node's configuration, as far as it is about static mappings. */
export interface StaticConfig {
  readonly floatingAddresses?: readonly FloatingConfig[] | undefined;
  readonly portForwards?: readonly ForwardConfig[] | undefined;
}

/** The public addresses that have static mappings, as numbers; those of several forwards several times. */
export function staticAddresses({
  floatingAddresses = [],
  portForwards = [],
}: StaticConfig): readonly number[] {
  return [...floatingAddresses, ...portForwards].map((entry) => address(entry.address));
}
