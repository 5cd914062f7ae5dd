/** PortForward: a port, or a range of ports, of a public address that is an inside host's. */
import { z } from "zod";
import { addressField, nameField, portField } from "./fields.ts";
import { conditionSchema, objectSchema } from "./meta.ts";
import { LAST_PORT } from "./slots.ts";
import { forwardProtocolField, MAX_FORWARDED_PORTS } from "./static-mappings.ts";

const publicSchema = z
  .strictObject({
    /** A NatGateway of the same namespace: an address of its own is used. */
    gateway: nameField.optional(),
    /** An AddressPool: `address` is taken from it for forwards alone. */
    pool: nameField.optional(),
    /** Which of the gateway's or pool's; may be left out with `gateway`, whose first one it then is. */
    address: addressField.optional(),
  })
  .refine(
    ({ gateway, pool }) => (gateway === undefined) !== (pool === undefined),
    "names not exactly one of gateway and pool; give one of the two",
  )
  .refine(
    ({ pool, address }) => pool === undefined || address !== undefined,
    "names a pool but no address; give the address too, since forwards may share one",
  );

const forwardSpecSchema = z
  .strictObject({
    cell: nameField,
    protocol: forwardProtocolField,
    public: publicSchema,
    port: portField,
    /** With it, all ports from `port` to this one are forwarded. */
    lastPort: portField.optional(),
    /** `port` becomes this one, the next the next. */
    inside: z.strictObject({ address: addressField, port: portField }),
  })
  .superRefine((spec, ctx) => {
    const count = portCount(spec);
    const say = (path: string[], message: string) => ctx.addIssue({ code: "custom", path, message });
    if (count < 1)
      say(["lastPort"], `lies below port ${spec.port}; give a port not below it, or leave it out`);
    if (count > MAX_FORWARDED_PORTS) {
      say(
        ["lastPort"],
        `makes ${count} ports of the range; at most ${MAX_FORWARDED_PORTS} are allowed, use a FloatingAddress or several PortForwards`,
      );
    }
    if (spec.inside.port + count - 1 > LAST_PORT) {
      say(["inside", "port"], `leaves no room for ${count} ports up to ${LAST_PORT}; choose a lower one`);
    }
  });

export const portForwardSchema = objectSchema(
  "PortForward",
  forwardSpecSchema,
  z.strictObject({
    observedGeneration: z.number().int().default(0),
    /** The public address; also the planner's memory of which one it chose. */
    address: z.string().optional(),
    conditions: z.array(conditionSchema).default([]),
  }),
);

export type PortForward = z.output<typeof portForwardSchema>;

/** How many ports are forwarded. */
export function portCount({
  port,
  lastPort,
}: {
  readonly port: number;
  readonly lastPort?: number | undefined;
}): number {
  return (lastPort ?? port) - port + 1;
}

/** The ports as people write them: `443` or `8000-8010`. */
export function formatPorts(port: number, count: number): string {
  return count === 1 ? `${port}` : `${port}-${port + count - 1}`;
}

/** Whether two ranges of ports have one in common. */
export function portsOverlap(
  a: { readonly port: number; readonly count: number },
  b: { readonly port: number; readonly count: number },
): boolean {
  return a.port < b.port + b.count && b.port < a.port + a.count;
}
